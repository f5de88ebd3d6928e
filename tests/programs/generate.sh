#!/usr/bin/env bash
# Usage: generate.sh CASE PROGRAM MODEL_FILES TESTS FOLDER: runs examples/generate's program on tiny models.
# MODEL_FILES is the helper of model_files.cpp, TESTS the folder tests/ with the tokenizers of tests/parity.
set -euo pipefail
case=$1 program=$2 model_files=$3 tests=$4 folder=$5
. "$(dirname "${BASH_SOURCE[0]}")/frame.sh" "$folder"

# A model with a tokenizer of its vocabulary: rotary positions, learned positions, an encoder-decoder.
model() {  # FAMILY TOKENIZER
  "$model_files" make "$1" "$1"
  cp "$tests/parity/tokenizers/$2"/* "$1"
  rm "$1/expected.json"
}
model llama llama2
model gpt2 gpt2
model t5_v1_1 t5

generate() { "$program" --quiet --max-tokens 12 "$@"; }
expect_error() { refuses "$1" generate "${@:2}"; }

tokens() { grep -o '"tokens":\[[^]]*\]' "$1"; }
# How many tokens the model read, of the summary.
read_tokens() { "$program" --max-tokens 1 "$@" 2>&1 >/dev/null | sed -n 's/.* prompts\{0,1\} of \([0-9]*\) tokens.*/\1/p'; }

# Products of another number of rows may round the last bits otherwise: log-probabilities agree to 1e-4, all else is equal.
without_numbers() { sed -E 's/"log_probabilities":\[[^]]*\],//; s/"score":[^,]*,//' "$1"; }
numbers() { grep -oE '"(log_probabilities|score)":[^"]*' "$1" | grep -oE -- '-?[0-9]+(\.[0-9]+)?(e-?[0-9]+)?'; }
expect_same() {
  cmp <(without_numbers "$1") <(without_numbers "$2") || failed "$3"
  [ "$(numbers "$1" | wc -l)" -ge "$(tokens "$1" | tr -cd , | wc -c)" ] || failed "$1 has no log-probabilities"
  paste <(numbers "$1") <(numbers "$2") | awk '{ d = $1 - $2; if (NF != 2 || d > 1e-4 || d < -1e-4) bad = 1 } END { exit bad }' ||
    failed "$3: log-probabilities"
}

cat >prompts.jsonl <<'END'
{"id": "one", "prompt": "the cat"}
{"id": 7, "prompt": "longer"}

{"prompt": "no id"}
{"id": "two", "prompt": "the cat", "other": [1, {"x": 2}]}
{"id": 3, "prompt": "x"}
{"id": "ü", "prompt": "ä\n\"b\""}
END

case $case in
results)
  for family in llama gpt2 t5_v1_1; do
    for how in "" "--temperature 0.9 --top-k 40 --top-p 0.95 --seed 3 --samples 2" "--top-k 5" \
      "--beams 3 --samples 2 --penalty gnmt --length-penalty 0.8" "--beams 2 --beam-stop current" "--ignore-end"; do
      generate --model $family --prompts prompts.jsonl --batch 5 $how >batch.jsonl
      # The same one by one and on one thread, and once more as it was.
      : >single.jsonl
      line=0
      while IFS= read -r text; do
        line=$((line + 1))
        [ -n "$text" ] || continue
        { for ((i = 1; i < line; ++i)); do echo; done; echo "$text"; } >one.jsonl
        generate --model $family --prompts one.jsonl --threads 1 $how >>single.jsonl
      done <prompts.jsonl
      expect_same batch.jsonl single.jsonl "$family $how: a batch gives other responses than single prompts"
      generate --model $family --prompts prompts.jsonl --batch 5 $how --out again.jsonl
      cmp batch.jsonl again.jsonl || failed "$family $how: not the same twice"
    done
    generate --model $family --prompts prompts.jsonl --temperature 1.5 --seed 1 >seed1.jsonl
    generate --model $family --prompts prompts.jsonl --temperature 1.5 --seed 2 >seed2.jsonl
    ! cmp -s seed1.jsonl seed2.jsonl || failed "$family: two seeds give the same"
    [ "$(tokens seed1.jsonl | sed -n 1p)" != "$(tokens seed1.jsonl | sed -n 4p)" ] ||
      failed "$family: two ids with one prompt draw the same"
    generate --model $family --prompts prompts.jsonl --beams 1 >beam1.jsonl
    generate --model $family --prompts prompts.jsonl >greedy.jsonl
    cmp beam1.jsonl greedy.jsonl || failed "$family: one beam is not greedy"
    # As many log-probabilities as tokens, none above 0.
    while IFS= read -r text; do
      n=$(grep -o '"tokens":\[[^]]*\]' <<<"$text" | tr -cd , | wc -c)
      [ "$(grep -o '"log_probabilities":\[[^]]*\]' <<<"$text" | tr -cd , | wc -c)" = "$n" ] || failed "lengths: $text"
      ! grep -o '"log_probabilities":\[[^]]*\]' <<<"$text" | grep -qE '[[,][0-9.]*[1-9]' || failed "above 0: $text"
    done <greedy.jsonl
  done
  grep -o '"id":[^,]*' batch.jsonl >ids.txt
  printf '"id":%s\n' '"one"' 7 4 '"two"' 3 '"ü"' >right.txt
  cmp <(grep -o '"id":[^,]*' greedy.jsonl) right.txt || failed "ids: $(cat ids.txt)"
  generate --model llama --prompts prompts.jsonl --top-k 9 --samples 3 >samples.jsonl
  cmp <(grep -o '"sample":[0-9]*' samples.jsonl) <(for _ in 1 2 3 4 5 6; do printf '"sample":%s\n' 1 2 3; done) ||
    failed "numbers of samples"

  # End tokens are part of the response and end it; eos_token_id of config.json is a list.
  generate --model llama --prompts prompts.jsonl --temperature 3 --samples 20 --max-tokens 30 >ends.jsonl
  grep -q '"finished":true' ends.jsonl || failed "no response has ended"
  while IFS= read -r text; do
    list=$(grep -o '"tokens":\[[^]]*\]' <<<"$text" | grep -o '[0-9]*')
    ends=$(grep -cxE '2|300|301' <<<"$list" || true)
    case $text in
    *'"finished":true'*) [ "$ends" = 1 ] && tail -1 <<<"$list" | grep -qxE '2|300|301' || failed "end: $text" ;;
    *) [ "$ends" = 0 ] && [ "$(wc -l <<<"$list")" = 30 ] || failed "not at its end: $text" ;;
    esac
  done <ends.jsonl

  # What transformers would do otherwise by generation_config.json is said in a line.
  cp -r llama otherwise
  echo '{"repetition_penalty": 1.2, "min_length": 0, "suppress_tokens": [], "forced_eos_token_id": 0}' >otherwise/generation_config.json
  generate --model otherwise --prompt x >out.txt 2>err.txt || failed "$(cat err.txt)"
  echo 'generate: of generation_config.json not applied: forced_eos_token_id, repetition_penalty' | cmp - err.txt || failed "$(cat err.txt)"

  # Lines of text, carriage returns and empty lines; the text alone is what JSON has.
  printf 'the cat\r\n\nx\n' >prompts.txt
  generate --model llama --prompts prompts.txt >lines.jsonl
  cmp <(grep -o '"id":[^,]*' lines.jsonl) <(printf '"id":%s\n' 1 3) || failed "ids of lines"
  [ "$(tokens lines.jsonl | head -1)" = "$(tokens <(generate --model llama --prompt 'the cat' --format jsonl))" ] ||
    failed "a line and --prompt differ"
  "$program" --help | grep -- '--temperature' >help.txt || failed "no help"
  "$program" --model gpt2 --prompt x --max-tokens 3 --ignore-end 2>&1 >/dev/null | grep -q 'gpt2, .* 3 tokens in .* tokens/s' ||
    failed "no summary"
  ;;

prompts)
  # Special tokens of a template are such, a bos that stands in it is not doubled, a file is as good.
  n=$(read_tokens --model llama --prompt 'the cat')
  [ "$(read_tokens --model llama --prompt 'the cat' --no-special)" = $((n - 1)) ] || failed "bos"
  [ "$(read_tokens --model llama --prompt 'the cat' --template '<s>{prompt}')" = "$n" ] || failed "two bos"
  [ "$(read_tokens --model llama --prompt 'the cat' --template '{prompt}</s>')" = $((n + 1)) ] || failed "no </s>"
  printf 'Say\t{{"x"}}:\n{prompt}\n' >template.txt
  generate --model llama --prompt 'the cat' --format jsonl --template 'Say\t{{"x"}}:\n{prompt}\n' >a.jsonl
  generate --model llama --prompt 'the cat' --format jsonl --template-file template.txt >b.jsonl
  cmp a.jsonl b.jsonl || failed "a template in a file is another"
  [ "$(tokens a.jsonl)" = "$(tokens <(generate --model llama --prompt $'Say\t{"x"}:\nthe cat\n' --format jsonl))" ] ||
    failed "a template is not the text it stands for"

  # An empty prompt: bos, or else eos; an encoder's end; without any it is refused.
  [ "$(read_tokens --model llama --prompt '')" = 1 ] || failed "empty prompt of llama"
  [ "$(read_tokens --model llama --prompt '' --no-special)" = 1 ] || failed "empty prompt of llama without special"
  [ "$(read_tokens --model gpt2 --prompt '')" = 1 ] || failed "empty prompt of gpt2"
  [ "$(read_tokens --model t5_v1_1 --prompt '')" = 1 ] || failed "empty prompt of t5"
  generate --model t5_v1_1 --prompt '' --no-special >out.txt || failed "an encoder may read nothing"
  "$model_files" make llama bare
  cp "$tests/parity/tokenizers/smollm/tokenizer.json" bare
  sed -i '/bos_token_id/d; s/"eos_token_id": \[/"x": [/' bare/config.json
  expect_error 'no bos or eos token' --model bare --prompt ''

  # Bytes that are no UTF-8 are U+FFFD.
  for bytes in $'a\xff b' $'\xe2\x82' $'\xed\xa0\x80x'; do
    repaired=$(printf %s "$bytes" | sed $'s/\xed\xa0\x80/\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd/; s/\xff/\xef\xbf\xbd/; s/\xe2\x82$/\xef\xbf\xbd/')
    [ "$(generate --model llama --prompt "$bytes" --format jsonl)" = "$(generate --model llama --prompt "$repaired" --format jsonl)" ] ||
      failed "invalid UTF-8"
  done
  printf 'a\xff b\n' >bytes.txt
  printf '{"prompt": "a\xff b"}\n' >bytes.jsonl
  cmp <(generate --model llama --prompts bytes.txt) <(generate --model llama --prompts bytes.jsonl) || failed "invalid UTF-8 in files"

  # Relative positions have no limit.
  generate --model t5_v1_1 --prompt "$(printf 'word %.0s' $(seq 40))" >out.txt 2>err.txt || failed "a long prompt: $(cat err.txt)"
  ;;

draft)
  # Greedy decoding with a draft is greedy decoding, however good the draft is and however far it runs ahead.
  for family in llama gpt2 t5_v1_1; do
    "$model_files" make $family other 9
    cp -n $family/* other
    generate --model $family --prompts prompts.jsonl --max-tokens 30 >alone.jsonl
    for how in "" "--draft-tokens 1 --batch 1" "--draft-tokens 40" "--draft-tokens 3 --ignore-end"; do
      case $how in *ignore-end) generate --model $family --prompts prompts.jsonl --max-tokens 30 --ignore-end >alone.jsonl ;; esac
      for draft in other $family; do
        generate --model $family --draft $draft --prompts prompts.jsonl --max-tokens 30 $how >drafted.jsonl
        expect_same alone.jsonl drafted.jsonl "$family, draft $draft $how: other responses than without"
      done
    done
    generate --model $family --prompts prompts.jsonl --max-tokens 30 >alone.jsonl
    generate --model $family --draft other --prompts prompts.jsonl --max-tokens 30 --top-k 1 --temperature 2 >drafted.jsonl
    cmp <(tokens alone.jsonl) <(tokens drafted.jsonl) || failed "$family: the most probable of one token is another"

    # Draws depend on seed, id and place alone.
    how="--model $family --draft other --prompts prompts.jsonl --temperature 0.9 --top-p 0.95 --samples 2"
    generate $how --seed 3 >batch.jsonl
    generate $how --seed 3 --batch 1 --threads 1 >single.jsonl
    expect_same batch.jsonl single.jsonl "$family: drawn with a draft, a batch gives other responses"
    generate $how --seed 4 >seed4.jsonl
    ! cmp -s batch.jsonl seed4.jsonl || failed "$family: with a draft two seeds give the same"

    # The closing line: a model accepts all that it proposes itself.
    summary() { "$program" --model $family --prompt 'the cat' --max-tokens 21 --ignore-end "$@" 2>&1 >/dev/null; }
    summary --draft $family | grep -q '; draft of 0.0 M parameters: 100.0 % of 16 proposals accepted, 4.20 tokens a pass$' ||
      failed "$family: its own draft: $(summary --draft $family)"
    summary --draft other --draft-tokens 2 | grep -qE ': [0-9.]+ % of [0-9]+ proposals accepted, [123]\.[0-9]+ tokens a pass$' ||
      failed "$family: $(summary --draft other)"
    ! summary | grep -q draft || failed "a draft that is not there"
    rm -r other
  done

  p="--prompt x"
  expect_error "--draft proposes for greedy decoding and draws, --beams searches" --model llama $p --draft llama --beams 2
  generate --model llama $p --draft llama --beams 1 >out.txt || failed "one beam is greedy decoding"
  expect_error "give --draft" --model llama $p --draft-tokens 2
  expect_error "--draft-tokens" --model llama $p --draft llama --draft-tokens 0
  expect_error "[draft] 'nowhere' does not exist" --model llama $p --draft nowhere
  expect_error "model and draft have other tokens: id " --model llama $p --draft gpt2
  cp -r llama short; sed -i 's/"max_position_embeddings": 64/"max_position_embeddings": 12/' short/config.json
  expect_error "prompt 1 has 1 tokens, the draft has 12 positions: --max-tokens 12 at most" --model llama --draft short \
    --prompt '' --max-tokens 13
  cp -r t5_v1_1 mixed; rm mixed/tokenizer* mixed/special_tokens* 2>/dev/null || true
  cp gpt2/vocab.json gpt2/merges.txt gpt2/tokenizer_config.json mixed
  expect_error "'mixed' has an encoder, the model has none" --model gpt2 $p --draft mixed
  expect_error "'gpt2' has no encoder, the model has one" --model mixed $p --draft gpt2
  cp -r gpt2 few; rm few/tokenizer_config.json; cp llama/tokenizer.json few
  expect_error "'few': the draft has 600 rows for tokens, the tokenizer's largest id is 799" --model llama $p --draft few
  ;;

terminal)
  command -v script >/dev/null || { echo "skipped: no script(1)"; exit 0; }
  for family in llama t5_v1_1; do
    for how in "" "--top-k 20" "--beams 2" "--top-k 20 --samples 2" "--top-k 20 --draft $family"; do
      generate --model $family --prompt 'the cat' --max-tokens 20 $how >plain.txt 2>err.txt
      script -qec "$program --quiet --model $family --prompt 'the cat' --max-tokens 20 $how" /dev/null </dev/null >shown.txt
      cmp <(sed 's/\r$//' shown.txt) plain.txt || failed "$family $how: a terminal shows something else"
    done
  done
  ! generate --model llama --prompt x --top-k 50 | grep -q $'\x1b' || failed "escapes without a terminal"
  ;;

bad_input)
  p="--prompt x"
  expect_error "'cpu' with 'bfloat16'" --model llama $p --dtype bfloat16
  CUDA_VISIBLE_DEVICES= expect_error "[cuda] " --model llama $p --device cuda --dtype bfloat16
  expect_error "'nowhere' does not exist" --model nowhere $p
  expect_error "is no folder" --model prompts.jsonl $p
  mkdir empty
  expect_error "'empty' has no config.json" --model empty $p
  echo '{"model_type": "bert"}' >empty/config.json
  expect_error 'model_type is "bert", supported: gpt2' --model empty $p
  echo '{}' >empty/config.json
  expect_error 'model_type is missing, supported: gpt2' --model empty $p
  echo '{"model_type": ' >empty/config.json
  expect_error "'empty/config.json' is no JSON" --model empty $p

  broken() { rm -rf broken; cp -r llama broken; }
  broken; sed -i 's/"hidden_size": 16/"hidden_size": "wide"/' broken/config.json
  expect_error 'hidden_size is "wide"' --model broken $p
  broken; sed -i '/"hidden_size"/d' broken/config.json
  expect_error 'hidden_size is missing' --model broken $p
  broken; sed -i 's/"intermediate_size": 24/"intermediate_size": 25/' broken/config.json
  expect_error 'model.layers.0.mlp.gate_proj.weight has shape' --model broken $p
  broken; truncate -s -100 broken/model.safetensors
  expect_error 'broken/model.safetensors' --model broken $p
  broken; truncate -s 20 broken/model.safetensors
  expect_error 'broken/model.safetensors' --model broken $p
  broken; rm broken/model.safetensors
  expect_error "neither model.safetensors nor" --model broken $p
  broken; mv broken/model.safetensors broken/model-00001-of-00002.safetensors
  echo '{"weight_map": {"lm_head.weight": "model-00001-of-00002.safetensors", "model.norm.weight": "model-00002-of-00002.safetensors"}}' \
    >broken/model.safetensors.index.json
  expect_error 'shards that are missing: model-00002-of-00002.safetensors' --model broken $p
  # Names in files may have control characters: the message is one line all the same.
  echo '{"weight_map": {"x": "two\nlines\u001b[31m\u009b"}}' >broken/model.safetensors.index.json
  expect_error 'shards that are missing: two\nlines\x1b[31m\x9b' --model broken $p
  broken; rm broken/tokenizer.json
  expect_error "has no tokenizer.json" --model broken $p
  broken; truncate -s 500 broken/tokenizer.json
  expect_error "broken/tokenizer.json" --model broken $p
  cp -r gpt2 fitless; rm fitless/vocab.json fitless/merges.txt; cp llama/tokenizer.json fitless; rm -f fitless/tokenizer_config.json
  expect_error "the model has 600 rows for tokens, the tokenizer's largest id is 799" --model fitless $p

  # A decoder has 64 positions, learned or rotary.
  for family in gpt2 llama; do
    expect_error "tokens, the model has 64 positions" --model $family --prompt "$(printf 'x%.0s ' $(seq 80))"
    expect_error "prompt 1 has 1 tokens, the model has 64 positions: --max-tokens 64 at most" --model $family \
      --prompt '' --max-tokens 65
    generate --model $family --prompt '' --max-tokens 64 --ignore-end >out.txt || failed "64 positions are not used"
  done

  expect_error "nowhere.txt' cannot be read" --model llama --prompts nowhere.txt
  expect_error "cannot be read" --model llama --prompts empty
  : >none.txt
  expect_error "'none.txt' holds no prompt" --model llama --prompts none.txt
  line() { { cat prompts.jsonl; echo "$1"; } >bad.jsonl; }
  line '{"id": 1, "prompt": '
  expect_error "'bad.jsonl', line 8: not a JSON object" --model llama --prompts bad.jsonl
  line '["x"]'
  expect_error "'bad.jsonl', line 8: not a JSON object" --model llama --prompts bad.jsonl
  line '{"id": 1}'
  expect_error "'bad.jsonl', line 8: the field prompt is missing" --model llama --prompts bad.jsonl
  line '{"prompt": 5}'
  expect_error "'bad.jsonl', line 8: the field prompt is 5" --model llama --prompts bad.jsonl
  line '{"id": [1], "prompt": "x"}'
  expect_error "'bad.jsonl', line 8: the field id is [1]" --model llama --prompts bad.jsonl
  line "{\"prompt\": $(printf '[%.0s' $(seq 100000))$(printf ']%.0s' $(seq 100000))}"
  expect_error "'bad.jsonl', line 8: nested too deeply" --model llama --prompts bad.jsonl
  line '{"id": "one", "prompt": "x"}'
  expect_error "'bad.jsonl', line 8: the id \"one\" is that of line 1 too" --model llama --prompts bad.jsonl

  expect_error "the template has no {prompt}" --model llama $p --template 'Hello'
  expect_error "the field 'name' is not given" --model llama $p --template '{prompt} {name}'
  expect_error "no field follows" --model llama $p --template '{prompt'
  expect_error "nowhere.txt" --model llama $p --template-file nowhere.txt

  expect_error "power,gnmt" --model llama $p --beams 2 --penalty linear
  expect_error "exact,current" --model llama $p --beams 2 --beam-stop never
  expect_error "text,jsonl" --model llama $p --format xml
  expect_error "--top-p" --model llama $p --top-p 1.5
  expect_error "--temperature: must be a number above 0, given nan" --model llama $p --temperature nan
  expect_error "--length-penalty: must be a number that is finite, given nan" --model llama $p --beams 2 --length-penalty nan
  expect_error "--max-tokens: must be a whole number above 0, given abc" --model llama $p --max-tokens abc
  expect_error "(0, 1]" --model llama $p --top-p 0
  expect_error "--temperature" --model llama $p --temperature 0
  expect_error "--top-k" --model llama $p --top-k -1
  expect_error "--max-tokens" --model llama $p --max-tokens 0
  expect_error "--seed" --model llama $p --seed x
  expect_error "--nonsense" --model llama $p --nonsense
  expect_error "--model" $p
  expect_error "give --prompt or --prompts" --model llama
  expect_error "--prompts" --model llama $p --prompts prompts.jsonl
  expect_error "give one or the other" --model llama $p --beams 2 --top-k 3
  expect_error "give --beams" --model llama $p --length-penalty 2
  expect_error "greedy decoding has one response" --model llama $p --samples 2
  expect_error "as many responses as --beams" --model llama $p --samples 3 --beams 2

  expect_error "nowhere/out.jsonl" --model llama $p --out nowhere/out.jsonl
  expect_error "'empty'" --model llama $p --out empty
  if [ -w /dev/full ]; then
    expect_error "/dev/full" --model llama $p --out /dev/full
    status=0
    generate --model llama $p >/dev/full 2>err.txt || status=$?
    [ $status = 2 ] && grep -q "standard output" err.txt || failed "full output: $status, $(cat err.txt)"
  fi
  ;;

*) failed "unknown case $case" ;;
esac
echo "ok: $case"
