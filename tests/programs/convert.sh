#!/usr/bin/env bash
# Usage: convert.sh CASE PROGRAM MODEL_FILES TESTS FOLDER: runs examples/convert's program on tiny models.
# MODEL_FILES is the helper of model_files.cpp, TESTS the folder tests/ with the models of tests/parity.
set -euo pipefail
case=$1 program=$2 model_files=$3 tests=$4 folder=$5
. "$(dirname "${BASH_SOURCE[0]}")/frame.sh" "$folder"

convert() { "$program" "$@" >out.txt 2>err.txt || failed "status $? of: $* ($(cat err.txt))"; }
same() { "$model_files" compare "$1/model.safetensors" "$2/model.safetensors" || failed "$3: $1 and $2 differ"; }

expect_error() { refuses "$1" "$program" "${@:2}"; }

case $case in
round_trip)
  # Hugging Face -> retort -> Hugging Face: the bytes of every tensor, all families and variants.
  for model in "$tests"/parity/models/*/model.safetensors; do
    model=$(dirname "$model")
    name=$(basename "$model")
    convert --from "$model" --to $name/retort
    convert --from $name/retort --to $name/back
    grep -q '"model_type"' $name/back/config.json || failed "$name: no model_type"
    grep -q '"hugging_face"' $name/retort/config.json || failed "$name: nothing kept of config.json"
    # T5's files have copies of the token table, or a head that is one: not written, checked in the next line.
    "$model_files" compare "$model/model.safetensors" $name/back/model.safetensors >difference.txt ||
      grep -qE '^[0-9]+ and [0-9]+ tensors' difference.txt || failed "$name: $(cat difference.txt)"
    convert --from $name/back --to $name/again
    convert --from $name/again --to $name/third
    same $name/retort $name/again $name
    same $name/back $name/third $name
    cmp $name/back/config.json $name/third/config.json || failed "$name: another config.json"
    # To a smaller type and up again: the values of the smaller type.
    for dtype in BF16 F16; do
      convert --from "$model" --to $name/$dtype --dtype $dtype
      convert --from $name/$dtype --to $name/$dtype.back
      convert --from $name/$dtype --as retort --to $name/$dtype.up --dtype F32
      convert --from $name/$dtype.up --to $name/$dtype.again --dtype $dtype
      same $name/$dtype.back $name/$dtype.again "$name $dtype"
      grep -q "(Hugging Face, $dtype)" out.txt || failed "summary: $(cat out.txt)"
    done
    [ $(stat -c %s $name/BF16/model.safetensors) -lt $(stat -c %s $name/retort/model.safetensors) ] || failed "$name: BF16 is no smaller"
  done
  for same in gpt2 gptj llama opt; do  # in these files nothing is twice
    same "$tests/parity/models/$same" $same/back $same
  done

  # Tokenizer files come along as they are; what else is there does not.
  "$model_files" make llama tokens
  cp "$tests"/parity/tokenizers/gpt2/* tokens
  echo '{"eos_token_id": 3}' >tokens/generation_config.json
  convert --from tokens --to tokens.retort
  convert --from tokens.retort --to tokens.back
  for file in vocab.json merges.txt tokenizer_config.json generation_config.json; do
    cmp tokens/$file tokens.retort/$file && cmp tokens/$file tokens.back/$file || failed "$file is not carried along"
  done
  [ ! -e tokens.back/expected.json ] || failed "too much is carried along"
  for id in bos_token_id eos_token_id; do  # what the model does not know is kept
    [ "$(tr -d ' \n' <tokens/config.json | grep -o "\"$id\":[^a-z]*")" = "$(tr -d ' \n' <tokens.back/config.json | grep -o "\"$id\":[^a-z]*")" ] ||
      failed "$id is lost"
  done
  ;;

run)
  # A training run's folder, and one that does not name the family.
  "$model_files" run run
  "$model_files" make t5_v1_1 right
  convert --from run --to named
  same right named "a run"
  sed -i '/"family"/d' run/config.json
  convert --from run --to exported --family t5_v1_1
  same right exported "a run"
  cp run/checkpoint.safetensors run/earlier.safetensors
  convert --from run --to earlier --family t5_v1_1 --weights earlier.safetensors
  same right earlier "another file of a run's weights"
  expect_error "give --family" --from run --to none
  expect_error "'bert' is unknown, expected one of gpt2, opt, gptj, llama, t5, t5_v1_1" --from run --to none --family bert
  expect_error "model.positions is missing" --from run --to none --family gpt2
  expect_error "decoder.block.0.ff.gate.weight" --from run --to none --family t5
  truncate -s -1 run/checkpoint.safetensors
  expect_error "checkpoint.safetensors" --from run --to none --family t5_v1_1
  rm run/checkpoint.safetensors
  expect_error "neither checkpoint.safetensors nor" --from run --to none --family t5_v1_1
  ;;

bad_input)
  "$model_files" make gpt2 gpt2
  convert --from gpt2 --to own
  expect_error "'nowhere' does not exist" --from nowhere --to none
  expect_error "is no folder" --from gpt2/config.json --to none
  mkdir empty
  expect_error "'empty' has no config.json" --from empty --to none
  echo '{"x": 1}' >empty/config.json
  expect_error "neither Hugging Face's" --from empty --to none
  echo '{"model_type": "bert"}' >empty/config.json
  expect_error 'model_type is "bert", supported: gpt2' --from empty --to none
  echo '{"model": [1]}' >empty/config.json
  echo >empty/model.safetensors
  expect_error "model" --from empty --to none

  broken() { rm -rf broken; cp -r own broken; sed -i "$1" broken/config.json; }
  broken 's/"width": 16/"width": "wide"/'
  expect_error 'model.width is "wide", expected a whole number' --from broken --to none
  broken 's/"tied_head": true/"tied_head": 1/'
  expect_error 'model.tied_head is 1, expected true or false' --from broken --to none
  broken '/"norm_epsilon"/d'
  expect_error 'model.norm_epsilon is missing' --from broken --to none
  broken 's/"scaling": "default"/"scaling": "yarn"/'
  expect_error 'model.rotary.scaling is "yarn", expected one of default, linear, llama3' --from broken --to none
  broken 's/"layers": 2/"layers": 2, "depth": 3/'
  expect_error 'model.depth is unknown' --from broken --to none
  broken 's/"layers": 2/"layers": 3/'
  expect_error 'missing: block.2.attention_norm.gain' --from broken --to none
  broken 's/"heads": 2/"heads": 3/'
  expect_error '3 heads cannot share 2 key/value heads' --from broken --to none
  broken ''; truncate -s -10 broken/model.safetensors
  expect_error 'broken/model.safetensors' --from broken --to none

  # What Hugging Face's format cannot express is named.
  broken 's/"post_norm": false/"post_norm": true/'
  expect_error "a model of type gpt2 cannot be written with norms elsewhere" --from broken --to none
  [ ! -e none ] || failed "a refused model was written"

  expect_error "F32,BF16,F16" --from gpt2 --to none --dtype F8
  expect_error "hugging_face,retort" --from gpt2 --to none --as onnx
  expect_error "--to" --from gpt2
  expect_error "is --from and --to" --from gpt2 --to gpt2 --overwrite
  expect_error "'own' has a config.json" --from gpt2 --to own
  convert --from gpt2 --to own --overwrite
  expect_error "cannot make 'gpt2/config.json/x'" --from gpt2 --to gpt2/config.json/x
  status=0
  (ulimit -f 8; trap '' XFSZ; "$program" --from gpt2 --to full >out.txt 2>err.txt) || status=$?
  [ $status = 2 ] && grep -q "full/model.safetensors" err.txt || failed "a full disk: $status, $(cat err.txt)"
  [ ! -e full/config.json ] && [ ! -e full/model.safetensors ] || failed "half a model was left"
  ;;

*) failed "unknown case $case" ;;
esac
echo "ok: $case"
