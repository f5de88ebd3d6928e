#!/usr/bin/env bash
# Usage: arithmetic.sh CASE PROGRAM FOLDER: runs examples/arithmetic's program with tiny models.
set -euo pipefail
case=$1 program=$2 folder=$3
. "$(dirname "${BASH_SOURCE[0]}")/frame.sh" "$folder"

sizes="--teacher-width 16 --teacher-heads 2 --teacher-hidden 32 --teacher-layers 1
  --student-width 8 --student-heads 2 --student-hidden 16 --student-layers 1
  --train-problems 200 --valid-problems 10 --test-problems 6 --most-steps 2 --batch 8 --curve-problems 4 --curve-points 2
  --evaluation-seeds 2 --positions 120 --max-tokens 64"
arithmetic() { "$program" --out runs $sizes --teacher-steps 6 --sft-steps 4 --steps 4 "$@"; }

expect_error() { refuses "$1" arithmetic "${@:2}"; }

case $case in
results)
  arithmetic >out.txt 2>err.txt || failed "$(cat err.txt)"
  for row in teacher 'start (sft)' kd seq_kd imit_kd gkd_forward_kl gkd_reverse_kl gkd_jsd minillm_paper minillm_reference \
    rl_gkd_0 rl_gkd_0.25 rl_gkd_0.5 rl_gkd_0.75 rl_gkd_1; do
    grep -q "^$row  " out.txt || failed "no row '$row' in: $(cat out.txt)"
  done
  [ -s runs/results.json ] || failed "no results.json"
  tail -1 out.txt | grep -q 'picture' || failed "the last line does not speak of the picture: $(tail -1 out.txt)"
  for file in config.json metrics.jsonl checkpoint.safetensors; do
    for run in kd minillm_paper rl_gkd_0.5; do [ -s runs/seed1/$run/$file ] || failed "no $file of $run"; done
  done
  # A second start finds everything done and gives the same table.
  arithmetic >again.txt 2>err.txt
  cmp out.txt again.txt || failed "another table from finished runs"
  "$program" --help | grep -- '--ablate' >help.txt || failed "no help"
  ;;

ablations)
  arithmetic --ablate --seeds 2 >out.txt 2>err.txt || failed "$(cat err.txt)"
  for row in minillm_paper no_length_normalisation no_teacher_mixing no_single_step; do
    grep -q "^$row  .*±" out.txt || failed "no row '$row' over two seeds in: $(cat out.txt)"
  done
  grep -q "^no_teacher_mixing .*repetition grows" out.txt || failed "no direction: $(cat out.txt)"
  [ -s runs/ablations.json ] || failed "no ablations.json"
  ;;

data)
  mkdir gsm8k
  for i in $(seq 40); do
    echo "{\"question\": \"Tom has $i apples and gets 1. How many?\", \"answer\": \"Tom has $i+1=<<$i+1=$((i + 1))>>$((i + 1)).\\n#### $((i + 1))\"}"
  done >gsm8k/train.jsonl
  { sed -n 1,2p gsm8k/train.jsonl; echo '{"question": "One and one?", "answer": "#### 2"}'
    echo '{"question": "A café?", "answer": "#### 2"}'; } >gsm8k/test.jsonl
  arithmetic --data gsm8k --recipes kd >out.txt 2>err.txt || failed "$(cat err.txt)"
  grep -q "28 problems to train on, 4 to validate, 3 to test" out.txt || failed "other parts: $(cat out.txt)"
  grep -q "skipped 2 problems whose question was there already" out.txt || failed "no word of the repeated: $(cat out.txt)"
  grep -q "skipped 1 problems with characters" out.txt || failed "no word of the unknown character: $(cat out.txt)"
  arithmetic --data gsm8k --recipes kd --valid-problems 36 --curve-problems 8 --max-tokens 24 --out runs-short >out.txt 2>err.txt || failed "$(cat err.txt)"
  grep -q "solutions longer than" out.txt || failed "no word of long solutions: $(cat out.txt)"
  sed -i '7s/answer/reply/' gsm8k/train.jsonl
  expect_error "gsm8k/train.jsonl:7: the field answer is missing" --data gsm8k
  sed -i '3s/.*/nonsense/' gsm8k/train.jsonl
  expect_error "gsm8k/train.jsonl:3: not a JSON object" --data gsm8k
  : >gsm8k/train.jsonl
  expect_error "cannot be read or is empty" --data gsm8k
  expect_error "nowhere/test.jsonl" --data nowhere
  ;;

bad_input)
  expect_error "leave no room" --max-tokens 120
  expect_error "too few problems fit" --max-tokens 4
  expect_error "expected 2 to 4" --most-steps 5
  expect_error "expected 6 to 1000" --largest 2
  expect_error "alpha, the share of distillation" --alphas 1.5
  expect_error "alpha, the teacher's share" --teacher-mixing 2
  expect_error "corpus's weight" --corpus-weight -1
  expect_error "groups of 3" --group 3
  expect_error "at least 2 samples" --group 1 --recipes rl_gkd
  expect_error "--recipes" --recipes nonsense
  expect_error "none of --recipes" --recipes no_single_step
  expect_error "alpha, the share of distillation" --alphas nan
  expect_error "--alphas: 0 is given twice" --alphas 0,-0
  expect_error "--recipes: kd is given twice" --recipes kd,kd
  expect_error "--steps: must be a whole number above 0, given -3" --steps -3
  expect_error "--rate: must be a number above 0, given abc" --rate abc
  expect_error "--first-seed 18446744073709551615 with --seeds 2" --first-seed 18446744073709551615 --seeds 2
  expect_error "--nonsense" --nonsense
  expect_error "--student-width 9 does not divide into --student-heads 2" --student-width 9
  [ -z "$(find . -name '*.safetensors')" ] || failed "a refused command wrote something"
  arithmetic --recipes kd >out.txt 2>err.txt || failed "$(cat err.txt)"
  expect_error "another vocabulary" --teacher runs/teacher --words 70
  expect_error "other sizes" --teacher runs/teacher --teacher-hidden 24
  expect_error "nowhere" --teacher nowhere
  expect_error "another configuration: run.steps" --recipes kd --steps 9
  expect_error "here; use another --out, or --fresh" --recipes kd --steps 9
  ;;

fresh)
  # --fresh removes what was there only when everything about the command is right.
  arithmetic --recipes gkd_jsd >out.txt 2>err.txt || failed "$(cat err.txt)"
  find runs -type f -exec sha256sum {} + | sort >before.txt
  for wrong in '--weight-decay nan' '--beta1 1' '--epsilon nan' '--schedule no' '--warm-up nan' '--temperature nan' '--alphas nan' \
    '--teacher-mixing 2' '--student-heads 3' '--teacher nowhere' '--data nowhere' '--max-tokens 120' '--group 3'; do
    expect_error "" --fresh $wrong
    find runs -type f -exec sha256sum {} + | sort >after.txt
    cmp before.txt after.txt || failed "--fresh $wrong changed finished runs"
  done
  # How recipes sample does not concern the teacher and the start.
  sha256sum runs/teacher/checkpoint.safetensors runs/seed1/start/checkpoint.safetensors >before.txt
  arithmetic --recipes imit_kd --temperature 0.7 >out.txt 2>err.txt || failed "$(cat err.txt)"
  sha256sum -c --quiet before.txt || failed "teacher or start were trained again"
  grep -q '"beta2": 0.99' runs/results.json || failed "results.json lacks AdamW's values"
  default_steps() { "$program" "$@" --help | sed -n 's/.*--teacher-steps .*=//p'; }
  [ "$(default_steps --full=true)" = 6000 ] || failed "--full=true"
  [ "$(default_steps --full=false)" = 4000 ] || failed "--full=false"
  ;;

interrupt)
  recipes="--recipes minillm_paper,rl_gkd --alphas 0.5 --teacher-steps 100"
  arithmetic $recipes --out whole >out.txt 2>err.txt || failed "$(cat err.txt)"
  arithmetic $recipes --out parts >out.txt 2>err.txt &
  pid=$!
  for _ in $(seq 200); do [ -s parts/teacher/metrics.jsonl ] && break; sleep 0.05; done
  # The shell function runs in a subshell whose child is the program; a background job ignores SIGINT, so SIGTERM.
  pkill -TERM -P $pid || kill -TERM $pid
  status=0
  wait $pid || status=$?
  [ $status = 130 ] || failed "status $status after the stop: $(cat err.txt)"
  arithmetic $recipes --out parts >out.txt 2>err.txt || failed "$(cat err.txt)"
  for run in teacher seed1/start seed1/minillm_paper seed1/rl_gkd_0.5; do
    cmp whole/$run/checkpoint.safetensors parts/$run/checkpoint.safetensors || failed "$run differs after a stop"
  done
  ;;

*) failed "unknown case $case" ;;
esac
echo "ok: $case"
