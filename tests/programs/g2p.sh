#!/usr/bin/env bash
# Usage: g2p.sh CASE PROGRAM FOLDER: runs examples/g2p's program on a small dictionary made here.
set -euo pipefail
case=$1 program=$2 folder=$3
. "$(dirname "${BASH_SOURCE[0]}")/frame.sh" "$folder"

# 1,000 words of two to seven letters, each letter with one sound.
awk 'BEGIN {
  srand(7)
  split("p t k m n s l r aa iy uw", sounds, " ")
  split("p t k m n s l r a i u", letters, " ")
  for (w = 0; w < 1000; ++w) {
    word = sound = ""
    for (n = 2 + int(rand() * 6); n > 0; --n) {
      i = 1 + int(rand() * 11)
      word = word letters[i]
      sound = sound " " toupper(sounds[i])
    }
    print toupper(word) " " sound
  }
}' | LC_ALL=C sort >words.dict

sizes="--teacher-width 16 --teacher-heads 2 --teacher-hidden 32 --teacher-encoder-layers 1 --teacher-decoder-layers 1
  --student-width 8 --student-heads 2 --student-hidden 16 --student-encoder-layers 1 --student-decoder-layers 1
  --batch 16 --evaluation-words 20 --curve-words 10 --curve-points 4"
g2p() { "$program" --data words.dict --out runs $sizes --teacher-steps 20 --sft-steps 12 --steps 8 "$@"; }

expect_error() { refuses "$1" g2p "${@:2}"; }

case $case in
results)
  g2p --recipes sft,seq_kd,supervised_kd,imit_kd,f_distill,on_policy_kd,gkd --divergences 'jsd(0.5),reverse_kl' >out.txt 2>err.txt ||
    failed "$(cat err.txt)"
  for row in teacher 'start (sft)' sft seq_kd supervised_kd imit_kd f_distill on_policy_kd 'gkd  *jsd(0.5)' 'gkd  *reverse_kl'; do
    grep -q "^$row " out.txt || failed "no row '$row' in: $(cat out.txt)"
  done
  [ -s runs/results.json ] || failed "no results.json"
  tail -1 out.txt | grep -q 'picture' || failed "the last line does not speak of the picture: $(tail -1 out.txt)"
  for file in config.json metrics.jsonl checkpoint.safetensors; do
    [ -s runs/seed1/on_policy_kd/$file ] || failed "no $file of the run"
  done
  grep -q '"family": "t5_v1_1"' runs/seed1/on_policy_kd/config.json || failed "the configuration does not name the family"
  ls runs/seed1/on_policy_kd/samples/step_*.txt >/dev/null || failed "no samples"
  # Words that are asked are a sample of the dictionary, not the first of the alphabet.
  tail -1 runs/seed1/on_policy_kd/samples/step_*.txt | grep -q '^[r-u]' || failed "the last word of the samples begins early"
  # A second start finds everything done and gives the same table.
  g2p --recipes sft,seq_kd,supervised_kd,imit_kd,f_distill,on_policy_kd,gkd --divergences 'jsd(0.5),reverse_kl' >again.txt 2>err.txt
  cmp out.txt again.txt || failed "another table from finished runs"
  "$program" --help | grep -- '--divergences' >help.txt || failed "no help"
  # A full disk behind standard output is no success.
  ! "$program" --help >/dev/full 2>err.txt || failed "output that could not be written went unnoticed"
  grep -q 'g2p: what was to be printed could not be written' err.txt || failed "$(cat err.txt)"
  ;;

bad_input)
  expect_error "nowhere.dict" --data nowhere.dict
  : >empty.dict
  expect_error "empty.dict: the file is empty" --data empty.dict
  printf ';;; nothing\n\n' >comments.dict
  expect_error "comments.dict: no entries" --data comments.dict
  { head -5 words.dict; echo "BROKEN"; } >broken.dict
  expect_error "broken.dict:6" --data broken.dict
  head -3 words.dict >short.dict
  expect_error "too few words" --data short.dict
  expect_error "adamw" --optimizer adam
  expect_error "per_token" --reduction mean
  expect_error "use ForwardKl" --divergences 'jsd(0)'
  expect_error "use ReverseKl" --divergences 'jsd(1)'
  expect_error "skew_forward_kl" --divergences nonsense
  expect_error "lambda must" --lambdas 1.5
  expect_error "lambda must" --lambdas nan
  expect_error "--steps: must be a whole number above 0, given -3" --steps -3
  expect_error "--steps: must be a whole number above 0, given abc" --steps abc
  expect_error "--rate: must be a number above 0, given abc" --rate abc
  for flag in rate temperature loss-temperature clip warm-up dropout beta1 weight-decay top-p adafactor-epsilon1; do
    expect_error "--$flag: must be a number" --$flag nan
  done
  # One run read twice is not two of them.
  expect_error "--divergences: reverse_kl is given twice" --divergences reverse_kl,reverse_kl
  expect_error "--divergences: jsd(beta 0.5) is given twice" --divergences 'jsd,jsd(0.50)'
  expect_error "--lambdas: 0 is given twice" --lambdas 0,-0
  expect_error "--recipes: sft is given twice" --recipes sft,sft
  expect_error "--first-seed" --first-seed -1
  expect_error "--first-seed 18446744073709551615 with --seeds 2" --first-seed 18446744073709551615 --seeds 2
  expect_error "--teacher-width 16 does not divide into --teacher-heads 200" --teacher-heads 200
  expect_error "--student-width 8 does not divide into --student-heads 3" --student-heads 3
  expect_error "--full" --full=abc
  expect_error "--nonsense" --nonsense
  expect_error "--out: must not be empty" --out ""
  expect_error "--quick excludes --full" --full --quick
  expect_error "'cpu' with 'bfloat16': expected cpu with float32, or cuda" --dtype bfloat16
  expect_error "'tpu' with 'float32'" --device tpu
  # Without RETORT_CUDA, or without a GPU that it may see.
  CUDA_VISIBLE_DEVICES= expect_error "[cuda] " --device cuda
  [ ! -e runs ] || [ -z "$(find runs -name '*.safetensors')" ] || failed "a refused command wrote something"

  # Words with other letters are reported, counted and skipped.
  { cat words.dict; echo "NAÏVE  N AA IY"; echo "R2D2  R T"; } >foreign.dict
  g2p --data foreign.dict --recipes sft --out runs-foreign >out.txt 2>err.txt || failed "$(cat err.txt)"
  grep -q "skipped 2 words" out.txt || failed "no word of the skipped words: $(cat out.txt)"

  # A teacher of another vocabulary, of other sizes, and none at all.
  sed 's/ AA/ OW/g' words.dict >other.dict
  g2p --data other.dict --recipes sft --out runs-other >out.txt 2>err.txt || failed "$(cat err.txt)"
  expect_error "another vocabulary" --teacher runs-other/teacher
  expect_error "other sizes" --teacher runs-foreign/teacher --teacher-hidden 24
  expect_error "nowhere" --teacher nowhere

  # Checkpoints: of another configuration, truncated, corrupt. What is there is not harmed.
  g2p --recipes sft >out.txt 2>err.txt
  expect_error "another configuration: run.steps" --recipes sft --steps 9
  expect_error "here; use another --out, or --fresh" --recipes sft --steps 9
  cut_head() { truncate -s 1000 "$1"; }
  cut_tail() { truncate -s -1 "$1"; }
  flip() { printf XXXX | dd of="$1" bs=1 seek=$(($(stat -c %s "$1") - 1000)) conv=notrunc status=none; }
  for damage in cut_head cut_tail flip; do
    cp runs/seed1/sft/checkpoint.safetensors kept
    $damage runs/seed1/sft/checkpoint.safetensors
    cp runs/seed1/sft/checkpoint.safetensors damaged
    expect_error "checkpoint.safetensors" --recipes sft
    cmp damaged runs/seed1/sft/checkpoint.safetensors || failed "a refused checkpoint was changed"
    cp kept runs/seed1/sft/checkpoint.safetensors
  done
  g2p --recipes sft >out.txt 2>err.txt || failed "the restored checkpoint is refused: $(cat err.txt)"

  # A learning rate that explodes at once: the op is named whose gradient is the first bad one.
  expect_error "[add] the gradient of this op's output, shape (" --recipes sft --out runs-nan --optimizer sgd --sft-rate 1e30 \
    --clip 1e30
  grep -q 'is not finite' err.txt || failed "not said what is wrong: $(cat err.txt)"
  [ ! -e runs-nan/seed1/start/checkpoint.safetensors ] || failed "weights that are not finite were written"

  # Weights that grow tenfold a step: the last good checkpoint stays, also when the run goes on from it.
  for attempt in 1 2; do
    expect_error "[gradient_norm] the gradient of " --recipes sft --out runs-growing --optimizer sgd --momentum 0 --sgd-weight-decay 11 \
      --teacher-rate 1e-3 --sft-rate 1 --schedule constant --warm-up 0 --sft-steps 60 --curve-points 30
    [ -s runs-growing/seed1/start/checkpoint.safetensors ] || failed "no checkpoint is left"
    [ $attempt = 1 ] || cmp kept runs-growing/seed1/start/checkpoint.safetensors || failed "the checkpoint was harmed"
    cp runs-growing/seed1/start/checkpoint.safetensors kept
  done
  ;;

fresh)
  # --fresh removes what was there only when everything about the command is right.
  g2p --recipes on_policy_kd >out.txt 2>err.txt || failed "$(cat err.txt)"
  find runs -type f -exec sha256sum {} + | sort >before.txt
  for wrong in '--weight-decay nan' '--beta1 nan' '--optimizer sgd --momentum 1' '--optimizer sgd --nesterov --momentum 0' '--schedule no' '--warm-up nan' \
    '--temperature nan' '--loss-temperature inf' '--top-p 0' '--lambdas nan --recipes gkd' '--divergences jsd(2)' \
    '--student-heads 3' '--teacher nowhere' '--data nowhere.dict' '--first-seed 18446744073709551615 --seeds 2'; do
    expect_error "" --fresh --recipes on_policy_kd,gkd $wrong
    find runs -type f -exec sha256sum {} + | sort >after.txt
    cmp before.txt after.txt || failed "--fresh $wrong changed finished runs"
  done
  # Choices of the recipes belong to their runs alone: the teacher and the start are found finished.
  sha256sum runs/teacher/checkpoint.safetensors runs/seed1/start/checkpoint.safetensors >before.txt
  g2p --recipes seq_kd --temperature 0.7 --top-k 5 --top-p 0.9 --loss-temperature 2 --max-tokens 12 >out.txt 2>err.txt ||
    failed "$(cat err.txt)"
  sha256sum -c --quiet before.txt || failed "teacher or start were trained again"
  grep -q '"top_k": 5' runs/seed1/seq_kd/config.json || failed "the sampler is not in the run's configuration"
  expect_error "another configuration: recipe.sampler.temperature" --recipes on_policy_kd --temperature 0.7
  # Forms are flags like others.
  default_steps() { "$program" "$@" --help | sed -n 's/.*--teacher-steps .*=//p'; }
  [ "$(default_steps --quick)" = 450 ] || failed "--quick"
  [ "$(default_steps --quick=true)" = 450 ] || failed "--quick=true"
  [ "$(default_steps --quick=false)" = 1500 ] || failed "--quick=false"
  # Every optimizer's values are flags and are kept with the results.
  g2p --recipes sft --optimizer adafactor --adafactor-decay-rate 0.7 --no-adafactor-scale-parameter --out runs-adafactor \
    >out.txt 2>err.txt || failed "$(cat err.txt)"
  grep -q '"decay_rate": 0.7' runs-adafactor/results.json || failed "results.json lacks Adafactor's values"
  grep -q '"scale_parameter": false' runs-adafactor/teacher/config.json || failed "a flag that is set does nothing"
  g2p --recipes sft --optimizer sgd --momentum 0.5 --out runs-sgd >out.txt 2>err.txt || failed "$(cat err.txt)"
  grep -q '"momentum": 0.5' runs-sgd/results.json || failed "results.json lacks SGD's values"
  grep -q '"beta2": 0.99' runs/results.json || failed "results.json lacks AdamW's values"
  ;;

resume)
  steps="--teacher-steps 150 --sft-steps 40 --steps 20"
  g2p $steps --recipes on_policy_kd,imit_kd --out whole >out.txt 2>err.txt || failed "$(cat err.txt)"
  lines() { cat "$1" | wc -l; }
  # Killed again and again, at moments that move through the run, then left alone.
  killed=0
  for reached in teacher:3 teacher:70 teacher:110 seed1/start:5 seed1/start:30 seed1/on_policy_kd:2 seed1/imit_kd:8; do
    "$program" --data words.dict --out parts $sizes $steps --recipes on_policy_kd,imit_kd >/dev/null 2>&1 &
    pid=$!
    # Until the run's metrics have so many lines; it starts again from its checkpoint, so they may be fewer for a while.
    while kill -0 $pid && [ "$(lines parts/${reached%:*}/metrics.jsonl)" -lt ${reached#*:} ]; do sleep 0.002; done
    kill -KILL $pid && killed=$((killed + 1))
    wait $pid || true
  done 2>/dev/null
  [ $killed -ge 5 ] || failed "only $killed of the kills hit a running program"
  g2p $steps --recipes on_policy_kd,imit_kd --out parts >out.txt 2>err.txt || failed "$(cat err.txt)"
  for run in teacher seed1/start seed1/on_policy_kd seed1/imit_kd; do
    cmp whole/$run/checkpoint.safetensors parts/$run/checkpoint.safetensors || failed "$run differs after kills"
    cmp whole/$run/samples/* parts/$run/samples/* || failed "the samples of $run differ after kills"
  done
  ;;

interrupt)
  g2p --recipes on_policy_kd --out whole --teacher-steps 300 >out.txt 2>err.txt || failed "$(cat err.txt)"
  g2p --recipes on_policy_kd --out parts --teacher-steps 300 >out.txt 2>err.txt &
  pid=$!
  for _ in $(seq 200); do [ -s parts/teacher/metrics.jsonl ] && break; sleep 0.05; done
  # The shell function runs in a subshell whose child is the program; a background job ignores SIGINT, so SIGTERM.
  pkill -TERM -P $pid || kill -TERM $pid
  status=0
  wait $pid || status=$?
  [ $status = 130 ] || failed "status $status after the stop: $(cat err.txt)"
  grep -q "checkpoint written" err.txt || failed "no word of the checkpoint: $(cat err.txt)"
  g2p --recipes on_policy_kd --out parts --teacher-steps 300 >out.txt 2>err.txt || failed "$(cat err.txt)"
  for run in teacher seed1/start seed1/on_policy_kd; do
    cmp whole/$run/checkpoint.safetensors parts/$run/checkpoint.safetensors || failed "$run differs after a stop"
  done
  ;;

disk_full)
  # A run that was stopped has a checkpoint; when it goes on, the disk is full: files may not grow beyond 8 kB.
  g2p --recipes sft --teacher-steps 300 >out.txt 2>err.txt &
  pid=$!
  for _ in $(seq 200); do [ -s runs/teacher/metrics.jsonl ] && break; sleep 0.05; done
  pkill -TERM -P $pid || kill -TERM $pid
  status=0
  wait $pid || status=$?
  [ $status = 130 ] || failed "status $status after a stop: $(cat err.txt)"
  cp runs/teacher/checkpoint.safetensors kept
  status=0
  (ulimit -f 8; trap '' XFSZ; g2p --recipes sft --teacher-steps 300 >out.txt 2>err.txt) || status=$?
  [ $status = 2 ] || failed "status $status with a full disk: $(cat err.txt)"
  grep -q "cannot write 'runs/teacher/" err.txt || failed "the message names no file: $(cat err.txt)"
  cmp kept runs/teacher/checkpoint.safetensors || failed "the old checkpoint was harmed"
  [ "$(find runs/teacher -name '*.tmp*' | wc -l)" = 0 ] || failed "half a file was left"
  g2p --recipes sft --teacher-steps 300 >out.txt 2>err.txt || failed "with room again: $(cat err.txt)"
  ;;

*) failed "unknown case $case" ;;
esac
echo "ok: $case"
