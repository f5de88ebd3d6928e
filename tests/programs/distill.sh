#!/usr/bin/env bash
# Usage: distill.sh CASE PROGRAM MODEL_FILES TESTS FOLDER: runs examples/distill's program on tiny models.
# MODEL_FILES is the helper of model_files.cpp, TESTS the folder tests/ with the tokenizers of tests/parity; the variable
# CONVERT is examples/convert's program.
set -euo pipefail
case=$1 program=$2 model_files=$3 tests=$4 folder=$5
rm -rf "$folder"
mkdir -p "$folder"
cd "$folder"

model() {  # FAMILY TOKENIZER FOLDER
  "$model_files" make "$1" "$3"
  cp "$tests/parity/tokenizers/$2"/* "$3"
  rm "$3/expected.json"
}
model llama llama2 llama
model t5_v1_1 t5 t5
# Two families with one tokenizer; of 800 rows 200 are padding.
model gpt2 gpt2 gpt2
model llama gpt2 padded

for i in $(seq 24); do echo "{\"prompt\": \"the cat $i\", \"output\": \"sat on $((i * 7))\", \"other\": [1]}"; done >data.jsonl
prompts_only() { sed 's/, "output.*/}/' data.jsonl; }

distill() { "$program" --teacher llama --data data.jsonl --steps 6 --batch 4 --max-tokens 8 --held-out-count 4 --evaluate-every 2 --rate 1e-2 "$@"; }
failed() { echo "FAILED: $*" >&2; exit 1; }

# expect_error TEXT ARGUMENTS...: status 2 and one line on standard error that has TEXT in it; of what $command runs.
command=distill
expect_error() {
  local text=$1 status=0
  shift
  $command --out refused "$@" >out.txt 2>err.txt || status=$?
  [ $status = 2 ] || failed "status $status instead of 2: $* ($(cat err.txt))"
  grep -qF -- "$text" err.txt || failed "no '$text' in the message of: $*: $(cat err.txt)"
  [ "$(wc -l <err.txt)" = 1 ] || failed "not one line: $(cat err.txt)"
  [ ! -e refused ] || [ -z "$(find refused -name '*.safetensors')" ] || failed "a refused command wrote something: $*"
}

case $case in
results)
  # Every recipe; the student is a layer of the teacher.
  prompts_only >prompts.jsonl
  for recipe in sft seq_kd supervised_kd imit_kd f_distill on_policy_kd gkd; do
    distill --student-layers 1 --recipe $recipe --out $recipe >out.txt 2>err.txt || failed "$recipe: $(cat err.txt)"
    for file in config.json metrics.jsonl checkpoint.safetensors before.json student/config.json student/model.safetensors \
      student/tokenizer.json samples/step_00000000.txt samples/step_00000006.txt; do
      [ -s $recipe/$file ] || failed "$recipe: no $file"
    done
    [ "$(grep -c '"evaluation"' $recipe/metrics.jsonl)" = 3 ] || failed "$recipe: not three evaluations"
  done
  grep -q '20 examples to train on, 4 held out' out.txt || failed "no word of the data: $(cat out.txt)"
  grep -qE 'student: llama, ([0-9]+) weights, \1 of them trained' out.txt || failed "no count of weights: $(cat out.txt)"
  grep -q '"num_hidden_layers": 1' gkd/student/config.json || failed "the student has not one layer"

  # Training brings the student nearer to its teacher; prompts alone are enough for it.
  distill --data prompts.jsonl --student-layers 0 --recipe on_policy_kd --divergence reverse_kl --steps 60 --evaluate-every 60 \
    --out nearer >out.txt 2>err.txt || failed "$(cat err.txt)"
  grep '^held out' out.txt | sed 's/.*KL \([0-9.]*\).*/\1/' | awk 'NR == 1 { a = $1 } { b = $1 } END { exit !(NR == 2 && b < 0.7 * a) }' ||
    failed "the reverse KL does not fall: $(cat out.txt)"
  [ -z "$(grep cross_entropy nearer/metrics.jsonl)" ] || failed "a cross-entropy without responses"

  # What was exported is a student again, and its own teacher: the divergence is 0.
  distill --teacher gkd/student --student gkd/student --out again --steps 1 >out.txt 2>err.txt || failed "$(cat err.txt)"
  grep -q 'before: reverse KL 0.0000' out.txt || failed "an exported model differs from itself: $(cat out.txt)"

  # Another family behind the same tokenizer, with padded rows on either side: they are never sampled, and the teacher
  # knows no such tokens. Encoder-decoders with layers of both stacks.
  for pair in "gpt2 padded" "padded gpt2"; do
    for recipe in f_distill gkd; do
      distill --teacher ${pair% *} --student ${pair#* } --recipe $recipe --out "$recipe-$pair" >out.txt 2>err.txt || failed "$pair: $(cat err.txt)"
    done
  done
  grep -q 'teacher: llama.*student: gpt2' out.txt || failed "not the families: $(cat out.txt)"
  distill --teacher t5 --student-layers 1 --student-encoder-layers 0 --out t5-half >out.txt 2>err.txt || failed "$(cat err.txt)"
  grep -q '"num_decoder_layers": 1' t5-half/student/config.json || failed "the student has not one layer"

  # All of a teacher's end tokens end a sample.
  tr -d ' \n' <gkd/config.json | grep -q '"end_token":2,.*"more_end_tokens":\[300,301\]' || failed "not all end tokens: $(cat gkd/config.json)"

  # Prompts without room are skipped and counted.
  distill --student-layers 0 --max-prompt 6 --held-out data.jsonl --out short >out.txt 2>err.txt || true
  grep -qE 'prompts over 6 tokens' out.txt err.txt || failed "no word of the long prompts: $(cat out.txt err.txt)"
  "$program" --help | grep -- '--student-layers' >help.txt || failed "no help"
  ;;

lora)
  distill --recipe sft --student-layers 0,1 --lora-rank 2 --lora-targets q_proj,v_proj,up_proj --out run >out.txt 2>err.txt ||
    failed "$(cat err.txt)"
  # Width 16, hidden 24: 2 layers of 2 * (16 + 16) + 2 * (16 + 16) + 2 * (16 + 24).
  grep -q ', 416 of them trained' out.txt || failed "not 416 weights: $(cat out.txt)"
  grep -q '"r": 2' run/adapter/adapter_config.json || failed "no adapter"
  [ -s run/adapter/adapter_model.safetensors ] || failed "no adapter's tensors"
  "$model_files" compare run/student/model.safetensors llama/model.safetensors >/dev/null && failed "nothing was trained"
  # The checkpoint, converted, is the student that was exported: adapters of parts of a layer and of whole ones, merged.
  "$CONVERT" --from run --to converted >out.txt 2>err.txt || failed "$(cat err.txt)"
  grep -q 'F32, adapters merged' out.txt || failed "no word of the adapters: $(cat out.txt)"
  "$model_files" compare run/student/model.safetensors converted/model.safetensors || failed "the converted checkpoint is another student"
  distill --teacher gpt2 --student gpt2 --recipe sft --lora-rank 3 --lora-alpha 5 --out whole >out.txt 2>err.txt || failed "$(cat err.txt)"
  "$CONVERT" --from whole --to whole/converted >out.txt 2>err.txt || failed "$(cat err.txt)"
  "$model_files" compare whole/student/model.safetensors whole/converted/model.safetensors || failed "the converted checkpoint is another student"
  refuses() {  # TEXT
    local status=0
    "$CONVERT" --from run --to none >out.txt 2>err.txt || status=$?
    [ $status = 2 ] && grep -qF -- "$1" err.txt && [ "$(wc -l <err.txt)" = 1 ] || failed "status $status, no '$1': $(cat err.txt)"
  }
  cp run/config.json kept.json
  sed -i 's/"rank": 2/"rank": 4/' run/config.json
  refuses "has LoRA adapters of rank 2, in 'run/config.json' model.lora.rank is 4"
  sed '/"lora": {/,/}/d' kept.json >run/config.json
  refuses "does not say how they are scaled: model.lora is missing"
  # Layers of the teacher are in no folder that adapters could name as theirs.
  grep -q '"base_model_name_or_path": "llama, layers 0,1"' run/adapter/adapter_config.json || failed "$(cat run/adapter/adapter_config.json)"
  grep -q '"base_model_name_or_path": "gpt2"' whole/adapter/adapter_config.json || failed "$(cat whole/adapter/adapter_config.json)"
  # Only adapted layers differ in the merged student.
  distill --student-layers 0,1 --freeze 'block.0.*,token.*' --out frozen >out.txt 2>err.txt || failed "$(cat err.txt)"
  grep -qE '([0-9]+) weights, ([0-9]+) of them trained' out.txt || failed "$(cat out.txt)"
  grep -qE 'weights, 416 of them' out.txt && failed "another number of weights was expected"
  ;;

resume)
  for extra in "" "--lora-rank 2 --lora-dropout 0.1"; do
    rm -rf whole parts
    distill --student-layers 0 --recipe imit_kd --steps 20 $extra --out whole >out.txt 2>err.txt || failed "$(cat err.txt)"
    for delay in 0.05 0.1 0.15 0.2 0.3 0.4; do
      timeout -s KILL $delay "$program" --teacher llama --data data.jsonl --steps 20 --batch 4 --max-tokens 8 --held-out-count 4 \
        --evaluate-every 2 --rate 1e-2 --student-layers 0 --recipe imit_kd $extra --out parts >/dev/null 2>&1 || true
    done 2>/dev/null
    distill --student-layers 0 --recipe imit_kd --steps 20 $extra --out parts >out.txt 2>err.txt || failed "$(cat err.txt)"
    for file in checkpoint.safetensors before.json student/model.safetensors samples/step_00000000.txt samples/step_00000020.txt; do
      cmp whole/$file parts/$file || failed "$file differs after kills ($extra)"
    done
    expect_error "another configuration: " --student-layers 1 --recipe imit_kd --steps 20 $extra --out parts
  done
  ;;

interrupt)
  long() { distill --student-layers 0 --recipe imit_kd --steps 400 --evaluate-every 150 "$@"; }
  long --out whole >out.txt 2>err.txt || failed "$(cat err.txt)"
  for signal in INT TERM; do
    rm -rf parts
    "$program" --teacher llama --data data.jsonl --batch 4 --max-tokens 8 --held-out-count 4 --rate 1e-2 --student-layers 0 \
      --recipe imit_kd --steps 400 --evaluate-every 150 --out parts >out.txt 2>err.txt &
    pid=$!
    for _ in $(seq 400); do [ -s parts/metrics.jsonl ] && break; sleep 0.02; done
    kill -$signal $pid
    status=0
    wait $pid || status=$?
    [ $status = 130 ] || failed "status $status after SIG$signal: $(cat err.txt)"
    # In the middle: a checkpoint where none was due, and no student yet.
    step=$(sed -n 's/.*stopped at step \([0-9]*\), checkpoint written.*/\1/p' err.txt)
    [ -n "$step" ] && [ "$step" -lt 400 ] && [ $((step % 150)) != 0 ] || failed "not in the middle: $(cat err.txt)"
    [ "$(wc -l <parts/metrics.jsonl)" = "$step" ] && [ -s parts/checkpoint.safetensors ] || failed "no checkpoint of step $step"
    grep -q 'the same command continues from the checkpoint in parts' err.txt || failed "no word of how to go on: $(cat err.txt)"
    [ ! -e parts/student ] || failed "a stopped run has exported a student"
    long --out parts >out.txt 2>err.txt || failed "$(cat err.txt)"
    for file in checkpoint.safetensors before.json student/model.safetensors samples/step_00000000.txt samples/step_00000400.txt; do
      cmp whole/$file parts/$file || failed "$file differs after SIG$signal"
    done
  done
  ;;

fresh)
  # --fresh removes what was there only when everything about the command is right.
  distill --student-layers 0 --recipe imit_kd --out run >out.txt 2>err.txt || failed "$(cat err.txt)"
  find run -type f -exec sha256sum {} + | sort >before.txt
  for wrong in '--weight-decay nan' '--beta1 1' '--optimizer sgd --momentum nan' '--schedule no' '--warm-up -1' '--rate 0' \
    '--temperature nan' '--loss-temperature nan' '--lambda nan' '--lora-rank 2 --lora-alpha nan' \
    '--optimizer sgd --nesterov --momentum 0' '--lora-rank 2 --lora-dropout nan'; do
    expect_error "" --student-layers 0 --recipe imit_kd --out run --fresh $wrong
    find run -type f -exec sha256sum {} + | sort >after.txt
    cmp before.txt after.txt || failed "--fresh $wrong changed the run"
  done
  expect_error "use another --out, or --fresh" --student-layers 0 --recipe imit_kd --out run --steps 7
  distill --student-layers 0 --recipe imit_kd --out run --fresh --steps 7 --optimizer adafactor --adafactor-beta1 0.5 \
    >out.txt 2>err.txt || failed "$(cat err.txt)"
  grep -q '"beta1": 0.5' run/config.json || failed "a flag that is set does nothing"
  ;;

bad_input)
  expect_error "'nowhere' does not exist" --teacher nowhere --student-layers 0
  expect_error "'nowhere' does not exist" --student nowhere
  expect_error "nowhere.jsonl" --student-layers 0 --data nowhere.jsonl
  expect_error "give --student or --student-layers" --steps 2
  expect_error "give --student or --student-layers" --student llama --student-layers 0
  expect_error "layer 2 of the decoder, which has 2 (0 to 1)" --student-layers 0,2
  expect_error "--student-layers" --student-layers one
  expect_error "gkd" --student-layers 0 --recipe gkt
  expect_error "skew_reverse_kl" --student-layers 0 --divergence kl
  expect_error "use ReverseKl" --student-layers 0 --divergence 'jsd(1)'
  expect_error "sft has no divergence" --student-layers 0 --recipe sft --divergence jsd
  expect_error "lambda must lie" --student-layers 0 --lambda 2
  expect_error "on_policy_kd has no lambda" --student-layers 0 --recipe on_policy_kd --lambda 0.5
  expect_error "--lora-rank" --student-layers 0 --lora-rank 0
  expect_error "expected some of down_proj" --student-layers 0 --lora-rank 2 --lora-targets c_attn
  expect_error "dropout must lie" --student-layers 0 --lora-rank 2 --lora-dropout 1
  expect_error "no parameter fits 'blok*'" --student-layers 0 --freeze 'blok*'
  expect_error "nothing is left to train" --student-layers 0 --freeze '*'
  expect_error "no room for a prompt" --student-layers 0 --max-tokens 64
  expect_error "--steps: must be a whole number above 0, given -1" --student-layers 0 --steps -1
  expect_error "--rate: must be a number above 0, given abc" --student-layers 0 --rate abc
  expect_error "--nonsense" --student-layers 0 --nonsense
  expect_error "F32,BF16,F16" --student-layers 0 --export-dtype F8
  expect_error "'cpu' with 'bfloat16'" --student-layers 0 --dtype bfloat16
  CUDA_VISIBLE_DEVICES= expect_error "[cuda] " --student-layers 0 --device cuda
  expect_error "the format has no field 'prompt'" --student-layers 0 --template 'x {promt}'

  # Tokenizers are compared by their content: the first id that differs is named.
  cp -r llama other
  sed -i 's/"²":338/"³":338/' other/tokenizer.json
  expect_error "other tokens: id 338 is '²' and '³'" --student other
  expect_error "other tokens: id" --student t5

  # Lines of data, with their number.
  { head -2 data.jsonl; echo '{"prompt": "x"'; } >bad.jsonl
  expect_error "'bad.jsonl', line 3: not a JSON object" --student-layers 0 --data bad.jsonl
  { head -2 data.jsonl; echo '[1]'; } >bad.jsonl
  expect_error "'bad.jsonl', line 3: not a JSON object" --student-layers 0 --data bad.jsonl
  { head -4 data.jsonl; echo; echo '{"prompts": "x"}'; } >bad.jsonl
  expect_error "'bad.jsonl', line 6: there is no field 'prompt'" --student-layers 0 --data bad.jsonl
  echo '{"prompt": 7, "output": "x"}' >bad.jsonl
  expect_error "'bad.jsonl', line 1: the field 'prompt' is no text but a number" --student-layers 0 --data bad.jsonl
  prompts_only >bad.jsonl
  expect_error "'bad.jsonl', line 1: there is no field 'output'" --student-layers 0 --recipe sft --data bad.jsonl
  : >bad.jsonl
  expect_error "no usable example" --student-layers 0 --data bad.jsonl
  head -4 data.jsonl >bad.jsonl
  expect_error "none is left to train on" --student-layers 0 --data bad.jsonl
  ;;

offline)
  # A student with the teacher's tokenizer and other weights.
  cp -r llama small
  "$model_files" make llama small 3
  write() { "$program" --teacher llama --data data.jsonl --max-tokens 8 --held-out-count 4 "$@"; }
  offline() {
    "$program" --student small --recipe supervised_kd --steps 6 --batch 4 --max-tokens 8 --held-out-count 4 \
      --evaluate-every 2 --rate 1e-2 "$@"
  }
  numbers() { grep -o "\"$1\":[^,}]*" "$2/metrics.jsonl" | sed 's/.*://'; }

  # What the file keeps, and how much.
  write --write-teacher all.bin --teacher-top-k 800 --teacher-dtype F32 >out.txt 2>err.txt || failed "$(cat err.txt)"
  grep -q 'data.jsonl: 24 examples, 4 of them held out' out.txt || failed "no word of the data: $(cat out.txt)"
  grep -qE "all.bin: 24 examples, [1-9][0-9]* response tokens, $(stat -c %s all.bin) bytes, [0-9.]+ bytes a resp" out.txt ||
    failed "no word of the file: $(cat out.txt)"
  [ ! -e runs ] || failed "a folder of a run without one"

  # With all tokens of the vocabulary: what the teacher itself says, step by step.
  for how in "" "--divergence jsd(0.3) --loss-temperature 2 --reduction per_token"; do
    write --write-teacher again.bin --teacher-top-k 800 --teacher-dtype F32 $how >out.txt 2>err.txt || failed "$(cat err.txt)"
    rm -rf whole parts
    distill --student small --recipe supervised_kd $how --out whole >out.txt 2>err.txt || failed "$(cat err.txt)"
    offline --teacher-file again.bin --data data.jsonl $how --out parts >out.txt 2>err.txt || failed "$(cat err.txt)"
    for name in loss mean gradient_norm cross_entropy; do
      paste <(numbers $name whole) <(numbers $name parts) >pairs.txt
      awk 'NF != 2 || ($1 - $2) ^ 2 > 1e-8 * $1 ^ 2 { bad = 1 } END { exit bad || NR < 3 }' pairs.txt ||
        failed "$how: $name with the teacher and from its file: $(cat pairs.txt)"
    done
  done

  # Without the teacher's samples there is no reverse KL; the file's own examples are those of the data.
  offline --teacher-file all.bin --data data.jsonl --out with_data >out.txt 2>err.txt || failed "$(cat err.txt)"
  offline --teacher-file all.bin --out run >out.txt 2>err.txt || failed "$(cat err.txt)"
  cmp with_data/student/model.safetensors run/student/model.safetensors || failed "the file's examples are others than the data's"
  grep -q 'all.bin: 20 examples to train on, 4 held out' out.txt || failed "no word of the data: $(cat out.txt)"
  grep -qE 'teacher: llama, the 800 most probable of 800 tokens; student: llama' out.txt || failed "no word of the teacher: $(cat out.txt)"
  [ "$(grep -c '^held out.*: divergence [0-9.]*, cross-entropy [0-9.]* nats' out.txt)" = 4 ] ||
    failed "not four evaluations: $(cat out.txt)"
  grep -rqE 'reverse_kl|teacher, greedy' run/before.json run/metrics.jsonl run/samples && failed "something is said of a teacher's samples"
  grep -q '"divergence"' run/before.json || failed "no divergence: $(cat run/before.json)"
  grep -q 'using 1:3' run/curve.gp || failed "not two curves: $(cat run/curve.gp)"
  grep -q "divergence from the teacher''s file" run/curve.gp || failed "no curve of the divergence: $(cat run/curve.gp)"
  grep -q '"checksum"' run/config.json || failed "the configuration does not name the file's contents: $(cat run/config.json)"

  # Fewer tokens: a lower bound, a smaller file, and a student that learns.
  write --write-teacher few.bin --teacher-top-k 5 --teacher-dtype F32 >out.txt 2>err.txt || failed "$(cat err.txt)"
  offline --teacher-file few.bin --steps 40 --evaluate-every 40 --out few >out.txt 2>err.txt || failed "$(cat err.txt)"
  awk -v few="$(numbers loss few | head -1)" -v all="$(numbers loss run | head -1)" 'BEGIN { exit !(0 < few && few < all) }' ||
    failed "the first loss of few tokens is not below that of all"
  falls() { grep '^held out' out.txt | sed 's/.*divergence \([0-9.]*\).*/\1/' | awk 'NR == 1 { a = $1 } { b = $1 } END { exit !(NR == 2 && b < 0.8 * a) }'; }
  falls || failed "the divergence does not fall: $(cat out.txt)"

  # The teacher's samples to prompts without responses; all of its end tokens end one.
  prompts_only >prompts.jsonl
  write --data prompts.jsonl --write-teacher samples.bin --teacher-top-k 50 --teacher-outputs teacher >out.txt 2>err.txt ||
    failed "$(cat err.txt)"
  offline --teacher-file samples.bin --steps 40 --evaluate-every 40 --out samples >out.txt 2>err.txt || failed "$(cat err.txt)"
  falls || failed "the divergence does not fall: $(cat out.txt)"
  grep -q cross_entropy samples/before.json || failed "no cross-entropy of the teacher's samples"
  offline --teacher-file samples.bin --recipe sft --out sft >out.txt 2>err.txt || failed "$(cat err.txt)"
  offline --teacher-file samples.bin --recipe gkd --lambda 0 --lora-rank 2 --lora-targets q_proj,v_proj --out lora >out.txt 2>err.txt ||
    failed "$(cat err.txt)"
  [ -s lora/adapter/adapter_model.safetensors ] || failed "no adapter"

  # Held-out examples of a file of their own are those of the teacher's file too.
  head -7 data.jsonl >held_out.jsonl
  write --held-out held_out.jsonl --write-teacher held_out.bin >out.txt 2>err.txt || failed "$(cat err.txt)"
  grep -q '28 examples, 4 of them held out' out.txt || failed "not the examples: $(cat out.txt)"
  offline --teacher-file held_out.bin --out held_out >out.txt 2>err.txt || failed "$(cat err.txt)"
  grep -q '24 examples to train on, 4 held out' out.txt || failed "not the examples: $(cat out.txt)"
  offline --teacher-file held_out.bin --data data.jsonl --held-out held_out.jsonl --out held_out_data >out.txt 2>err.txt || failed "$(cat err.txt)"
  cmp held_out/before.json held_out_data/before.json || failed "other held-out examples"

  # Another family, fewer rows without a token than the teacher's; an encoder-decoder.
  for pair in "padded gpt2" "gpt2 padded" "t5 t5"; do
    write --teacher ${pair% *} --write-teacher pair.bin >out.txt 2>err.txt || failed "$pair: $(cat err.txt)"
    offline --teacher-file pair.bin --student ${pair#* } --out "$pair" >out.txt 2>err.txt || failed "$pair: $(cat err.txt)"
  done

  # Killed and continued.
  long() { offline --teacher-file few.bin --steps 60 --lora-rank 2 --lora-dropout 0.1 "$@"; }
  long --out killed_not >out.txt 2>err.txt || failed "$(cat err.txt)"
  for delay in 0.05 0.1 0.15 0.2 0.3 0.4; do
    timeout -s KILL $delay "$program" --student small --recipe supervised_kd --batch 4 --max-tokens 8 --held-out-count 4 \
      --evaluate-every 2 --rate 1e-2 --teacher-file few.bin --steps 60 --lora-rank 2 --lora-dropout 0.1 --out killed >/dev/null 2>&1 || true
  done 2>/dev/null
  mv few.bin moved.bin  # its contents belong to the run, not its name
  long --teacher-file moved.bin --out killed >out.txt 2>err.txt || failed "$(cat err.txt)"
  for file in checkpoint.safetensors before.json student/model.safetensors samples/step_00000000.txt samples/step_00000060.txt; do
    cmp killed_not/$file killed/$file || failed "$file differs after kills"
  done

  # Wrong input: one line, and a run that was there stays as it was.
  command=offline
  expect_error "another configuration: " --teacher-file samples.bin --out run
  find run -type f -exec sha256sum {} + | sort >before.txt
  head -c 2000 all.bin >cut.bin
  { head -c 3000 all.bin; printf x; tail -c +3002 all.bin; } >damaged.bin
  "$model_files" pad all.bin larger.bin 900
  sed 's/sat on/sits on/' data.jsonl >other.jsonl
  refused() {
    expect_error "$@" --out run --fresh
    find run -type f -exec sha256sum {} + | sort >after.txt
    cmp before.txt after.txt || failed "$* changed the run"
  }
  refused "'nowhere.bin'" --teacher-file nowhere.bin
  refused "is damaged or truncated" --teacher-file cut.bin
  refused "the checksum of example" --teacher-file damaged.bin
  refused "is no teacher file" --teacher-file data.jsonl
  refused "give --teacher or --teacher-file" --teacher-file all.bin --teacher llama
  refused "give --teacher or --teacher-file" --data data.jsonl
  refused "was made with --loss-temperature 1, given 2" --teacher-file all.bin --loss-temperature 2
  refused "is of a vocabulary of 900, the student has 800 tokens" --teacher-file larger.bin
  refused "another tokenizer" --teacher-file all.bin --student gpt2
  refused "'nowhere' does not exist" --teacher-file all.bin --student nowhere
  refused "--teacher-file needs --student" --teacher-file all.bin --student ""
  refused "a teacher's file has none" --teacher-file all.bin --student "" --student-layers 0
  refused "is of other data: the response of example 0" --teacher-file all.bin --data other.jsonl
  refused "without --data and --held-out the file's own examples are used" --teacher-file samples.bin --data data.jsonl
  refused "none is left to train on" --teacher-file all.bin --held-out-count 24
  refused "24 responses over 2 tokens skipped" --teacher-file all.bin --max-tokens 2
  for recipe in gkd seq_kd imit_kd f_distill on_policy_kd; do
    refused "expected sft, supervised_kd, or gkd with --lambda 0" --teacher-file all.bin --recipe $recipe
  done
  refused "--teacher-top-k requires --write-teacher" --teacher-file all.bin --teacher-top-k 5
  refused "--write-teacher needs --teacher" --teacher-file all.bin --write-teacher none.bin
  command=write
  refused "trains no student" --write-teacher none.bin --student small
  refused "--teacher-top-k: must be a whole number above 0, given 0" --write-teacher none.bin --teacher-top-k 0
  refused "--teacher-top-k 801, expected at most the 800 tokens" --write-teacher none.bin --teacher-top-k 801
  refused "{data,teacher}" --write-teacher none.bin --teacher-outputs student
  refused "F16,BF16,F32" --write-teacher none.bin --teacher-dtype F8
  refused "line 1: there is no field 'output'" --write-teacher none.bin --data prompts.jsonl
  refused "--data is missing" --write-teacher none.bin --data ""
  refused "nowhere/none.bin" --write-teacher nowhere/none.bin
  [ -z "$(find . -name '*none.bin*')" ] || failed "a refused command wrote a file"
  ;;

*) failed "unknown case $case" ;;
esac
echo "ok: $case"
