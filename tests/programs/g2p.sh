#!/usr/bin/env bash
# Usage: g2p.sh CASE PROGRAM FOLDER: runs examples/g2p's program on a small dictionary made here.
set -euo pipefail
case=$1 program=$2 folder=$3
rm -rf "$folder"
mkdir -p "$folder"
cd "$folder"

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
}' >words.dict

sizes="--teacher-width 16 --teacher-heads 2 --teacher-hidden 32 --teacher-encoder-layers 1 --teacher-decoder-layers 1
  --student-width 8 --student-heads 2 --student-hidden 16 --student-encoder-layers 1 --student-decoder-layers 1
  --batch 16 --evaluation-words 20 --curve-words 10 --curve-points 4"
g2p() { "$program" --data words.dict --out runs $sizes --teacher-steps 20 --sft-steps 12 --steps 8 "$@"; }

failed() { echo "FAILED: $*" >&2; exit 1; }

# expect_error TEXT ARGUMENTS...: status 2 and one line on standard error that has TEXT in it.
expect_error() {
  local text=$1 status=0
  shift
  g2p "$@" >out.txt 2>err.txt || status=$?
  [ $status = 2 ] || failed "status $status instead of 2: $* ($(cat err.txt))"
  grep -qF -- "$text" err.txt || failed "no '$text' in the message of: $*: $(cat err.txt)"
  [ "$(grep -vc ' steps  ' err.txt)" = 1 ] || failed "more than one line beside the progress: $(cat err.txt)"
}

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
  # A second start finds everything done and gives the same table.
  g2p --recipes sft,seq_kd,supervised_kd,imit_kd,f_distill,on_policy_kd,gkd --divergences 'jsd(0.5),reverse_kl' >again.txt 2>err.txt
  cmp out.txt again.txt || failed "another table from finished runs"
  "$program" --help | grep -q -- '--divergences' || failed "no help"
  ;;

bad_input)
  expect_error "nowhere.dict" --data nowhere.dict
  : >empty.dict
  expect_error "empty.dict" --data empty.dict
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
  expect_error "--steps" --steps -3
  expect_error "--nonsense" --nonsense
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

  # A learning rate that explodes: the first bad op is named, the last good checkpoint stays.
  expect_error "finite" --recipes sft --out runs-nan --optimizer sgd --sft-rate 1e30 --clip 1e30
  ;;

resume)
  steps="--teacher-steps 150 --sft-steps 40 --steps 20"
  g2p $steps --recipes on_policy_kd,imit_kd --out whole >out.txt 2>err.txt || failed "$(cat err.txt)"
  # Killed again and again, at moments that move through the run, then left alone.
  killed=0
  for delay in 0.05 0.1 0.15 0.2 0.3 0.4 0.5; do
    status=0
    timeout -s KILL $delay "$program" --data words.dict --out parts $sizes $steps --recipes on_policy_kd,imit_kd \
      >/dev/null 2>&1 || status=$?
    [ $status != 137 ] || killed=$((killed + 1))
  done 2>/dev/null
  [ $killed -ge 2 ] || failed "only $killed of the kills hit a running program"
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
  # A run that was stopped has a checkpoint; when it goes on, the disk is full: files may not grow beyond 4 kB.
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
