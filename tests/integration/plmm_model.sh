#!/bin/sh
# plmm-model from end to end on a small text, and its answer to bad input of each kind.
# usage: plmm_model.sh PLMM_MODEL
set -eu
tool=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
fail=0

say() {
    echo "FAILED: $*"
    fail=1
}

# refuse "WORDS OF THE MESSAGE" ARGUMENT...: exit status 2, one line that holds the words.
refuse() {
    words=$1
    shift
    status=0
    "$tool" "$@" >"$dir/out" 2>"$dir/err" || status=$?
    [ $status = 2 ] || say "$* ended with $status, not 2"
    grep -qF -- "$words" "$dir/err" || say "$* did not say \"$words\" but: $(cat "$dir/err")"
    [ "$(wc -l <"$dir/err")" = 1 ] || say "$* printed more than a line: $(cat "$dir/err")"
}

# --- a model, an adapter, answers ---
for thing in cow dog cat fox; do
    for color in red blue green; do
        echo "{\"prompt\": \"what is a $color $thing?\", \"response\": \"a $thing that is $color\", \"domain\": \"$color\"}"
    done
done >"$dir/rows.jsonl"
small="--dim 32 --heads 2 --kv-heads 1 --hidden 48 --layers 2 --context 48 --vocab 300 --batch-tokens 256 --quiet"
for threads in 1 2; do
    # shellcheck disable=SC2086 # words
    "$tool" pretrain "$dir/rows.jsonl" --out "$dir/m$threads" --steps 20 $small --threads $threads >"$dir/log"
done
for file in config.json tokenizer.json tokenizer_config.json model.safetensors; do
    cmp -s "$dir/m1/$file" "$dir/m2/$file" || say "$file depends on the number of threads"
done
# shellcheck disable=SC2086
"$tool" pretrain "$dir/rows.jsonl" --out "$dir/m" --steps 700 --lr 0.003 $small >"$dir/log"
"$tool" train "$dir/m" "$dir/rows.jsonl" --out "$dir/a" --steps 60 --lr 0.005 --held-out "$dir/rows.jsonl" --json \
    --quiet >"$dir/train.json"
"$tool" train "$dir/m" "$dir/rows.jsonl" --out "$dir/a2" --steps 60 --lr 0.005 --quiet >/dev/null
cmp -s "$dir/a/adapter_model.safetensors" "$dir/a2/adapter_model.safetensors" || say "equal seeds, unequal adapters"
"$tool" train "$dir/m" "$dir/rows.jsonl" --out "$dir/a2" --steps 60 --lr 0.005 --recompute --quiet >/dev/null
cmp -s "$dir/a/adapter_model.safetensors" "$dir/a2/adapter_model.safetensors" || say "computing twice changes the adapter"
for base in bf16 int8 int4; do
    "$tool" train "$dir/m" "$dir/rows.jsonl" --out "$dir/a2" --steps 60 --lr 0.005 --base $base --quiet >/dev/null
    "$tool" eval "$dir/m" "$dir/rows.jsonl" --adapter "$dir/a2" --json --quiet --max-new 16 >"$dir/eval.json"
    grep -q '"exact_match":\(1\|0.[6-9]\)' "$dir/eval.json" || say "trained over $base: $(cat "$dir/eval.json")"
done
"$tool" train "$dir/m" "$dir/rows.jsonl" --out "$dir/a2" --steps 3 --mezo 0.001 --lr 0.0001 --quiet >"$dir/log"
grep -q "in 3 steps" "$dir/log" || say "forward passes alone: $(cat "$dir/log")"
"$tool" info "$dir/m" --train --base int4 >"$dir/log"
"$tool" info "$dir/m" --train --base int4 --recompute >"$dir/log2"
[ "$(awk '/workspace/ {print $4 * 100}' "$dir/log2")" -lt "$(awk '/workspace/ {print $4 * 100}' "$dir/log")" ] ||
    say "--recompute announces no less: $(cat "$dir/log2")"
refuse "must be f32, bf16, int8 or int4" train "$dir/m" "$dir/rows.jsonl" --out "$dir/a2" --base int3
refuse "must be f32, bf16, int8 or int4" info "$dir/m" --train --base q8
"$tool" eval "$dir/m" "$dir/rows.jsonl" --adapter "$dir/a" --json --quiet --max-new 16 >"$dir/eval.json"
grep -q '"exact_match":1' "$dir/eval.json" || say "the taught answers are not given: $(cat "$dir/eval.json")"
grep -q '"blue":{"dialogues":4' "$dir/eval.json" || say "no row for a domain: $(cat "$dir/eval.json")"
answer=$("$tool" generate "$dir/m" --adapter "$dir/a" --chat --prompt "what is a red fox?")
[ "$answer" = "a fox that is red" ] || say "generate answered \"$answer\""
answer=$("$tool" generate "$dir/m" --adapter "$dir/a" --chat --prompt "what is a red fox?" --draft "$dir/m" 2>"$dir/speed")
[ "$answer" = "a fox that is red" ] || say "with a draft it answered \"$answer\""
grep -q "proposals accepted" "$dir/speed" && grep -q "tokens/s" "$dir/speed" || say "generate says no speed"
answer=$("$tool" generate "$dir/m" --adapter "$dir/a" --chat --prompt "what is a red fox?" --stop " that" --base int8 2>/dev/null)
[ "$answer" = "a fox" ] || say "up to a stop text it answered \"$answer\""
"$tool" generate "$dir/m" --chat --prompt "x" --template llama3 2>"$dir/speed" && say "a template without its tokens was taken"
grep -q "start_header_id" "$dir/speed" || say "which token a template lacks is not said"
one=$("$tool" generate "$dir/m" --prompt "what" --temperature 1 --seed 3 --max-new 9 --json)
two=$("$tool" generate "$dir/m" --prompt "what" --temperature 1 --seed 3 --max-new 9 --json)
[ "$one" = "$two" ] || say "equal seeds, unequal texts"
ids=$("$tool" tokenize "$dir/m" --text "a red cow" --bos | head -n 1)
[ "$("$tool" tokenize "$dir/m" --decode "$ids")" = "<|begin|>a red cow" ] || say "decoding $ids"
"$tool" info "$dir/m" --adapter "$dir/a" --json | grep -q '"rank":8' || say "info without the adapter"
"$tool" info "$dir/m" --tensors | grep -q model.embed_tokens.weight || say "info without tensors"
"$tool" pretrain "$dir/rows.jsonl" --init "$dir/m" --out "$dir/m3" --steps 2 --dtype bf16 --quiet >/dev/null

# --- smaller models ---
"$tool" prune "$dir/m" --depth 1 --data "$dir/rows.jsonl" --out "$dir/cut" --json --quiet >"$dir/prune.json"
grep -q '"after":{"layers":1,' "$dir/prune.json" || say "prune: $(cat "$dir/prune.json")"
"$tool" distill "$dir/m" "$dir/rows.jsonl" --init "$dir/cut" --hidden-weight 0.1 --steps 60 --batch-tokens 256 \
    --held-out "$dir/rows.jsonl" --out "$dir/small" --json --quiet >"$dir/distill.json"
grep -q '"student":{"layers":1,' "$dir/distill.json" || say "distill: $(cat "$dir/distill.json")"
cut=$(sed 's/.*"after":.*"perplexity":\([0-9.]*\).*/\1/' "$dir/prune.json")
small=$(sed 's/.*"student":.*"perplexity":\([0-9.]*\).*/\1/' "$dir/distill.json")
awk "BEGIN { exit !($small < 0.8 * $cut) }" || say "distilling took the perplexity from $cut to $small"
cmp -s "$dir/small/tokenizer.json" "$dir/m/tokenizer.json" || say "the student has another tokenizer"
"$tool" distill "$dir/m" "$dir/rows.jsonl" --dim 16 --heads 2 --kv-heads 1 --hidden 24 --layers 1 --steps 3 --out "$dir/s" \
    --quiet >/dev/null
refuse "must be 1..1: the model has 2 layers" prune "$dir/m" --depth 2 --out "$dir/x"
refuse "the teacher's have 32 numbers, the student's 16" distill "$dir/m" "$dir/rows.jsonl" --init "$dir/s" \
    --hidden-weight 1 --out "$dir/x"

for type in q8_0 q4_0; do
    "$tool" quantize "$dir/m" --type $type --out "$dir/$type" --held-out "$dir/rows.jsonl" --json >"$dir/$type.json"
    awk -F'"perplexity":' '{ split($2, a, ","); split($3, b, ","); r = b[1] / a[1]; exit !(r > 0.9 && r < 1.15) }' \
        "$dir/$type.json" || say "quantised to $type: $(cat "$dir/$type.json")"
done
awk -F'"bytes":' '{ split($2, a, ","); split($3, b, ","); exit !(b[1] < 0.31 * a[1]) }' "$dir/q8_0.json" ||
    say "q8_0 is no smaller: $(cat "$dir/q8_0.json")"
[ "$("$tool" generate "$dir/q8_0/model.gguf" --chat --prompt "what is a red fox?" 2>/dev/null)" = \
    "$("$tool" generate "$dir/m" --chat --prompt "what is a red fox?" 2>/dev/null)" ] || say "q8_0 answers otherwise"
refuse '--type is "q5", must be q8_0 or q4_0' quantize "$dir/m" --type q5 --out "$dir/x"

# --- a base of fewer bits below the adapter ---
for base in bf16 int8 int4; do
    "$tool" train "$dir/m" "$dir/rows.jsonl" --base $base --out "$dir/a-$base" --steps 30 --lr 0.005 --quiet >/dev/null
    "$tool" eval "$dir/m" "$dir/rows.jsonl" --base $base --adapter "$dir/a-$base" --json --quiet --max-new 16 >"$dir/eval.json"
    grep -q '"exact_match":1' "$dir/eval.json" || say "--base $base: $(cat "$dir/eval.json")"
done
refuse "--base is \"int9\"" generate "$dir/m" --base int9

# --- other forms of the same model ---
"$tool" merge "$dir/m" --adapter "$dir/a" --out "$dir/merged" --held-out "$dir/rows.jsonl" --shard-mb 1 --json >"$dir/merge.json"
sed 's/.*"perplexity_with_adapters":\([0-9.]*\),"perplexity_merged":\([0-9.]*\)}.*/\1 \2/' "$dir/merge.json" |
    awk '{exit !($1 > 1 && $1 < $2 * 1.0001 && $2 < $1 * 1.0001)}' || say "merging changes the model: $(cat "$dir/merge.json")"
cmp -s "$dir/m/tokenizer.json" "$dir/merged/tokenizer.json" || say "the tokenizer does not go along"
answer=$("$tool" generate "$dir/merged" --chat --prompt "what is a red fox?")
[ "$answer" = "a fox that is red" ] || say "the merged model answered \"$answer\""
"$tool" convert "$dir/m" --out "$dir/m.gguf" >"$dir/log"
"$tool" convert "$dir/m.gguf" --out "$dir/back" >"$dir/log"
cmp -s "$dir/m/model.safetensors" "$dir/back/model.safetensors" || say "GGUF and back is another model"
"$tool" info "$dir/m.gguf" | grep -q "llama: GGUF version 3, f32" || say "info of a GGUF file"
"$tool" export "$dir/m" --adapter "$dir/a" --out "$dir/a.gguf" --dtype f16 | grep -q "of rank 8" || say "export"

# --- bad input, a sentence each ---
refuse "say with --out" convert "$dir/m"
refuse "--out is the model itself" convert "$dir/m" --out "$dir/m"
refuse "say with --adapter" merge "$dir/m" --out "$dir/x"
refuse "export takes one --adapter, 2 were given" export "$dir/m" --adapter "$dir/a" --adapter "$dir/a2" --out "$dir/x"
refuse "f32 or f16, not of bf16" export "$dir/m" --adapter "$dir/a" --out "$dir/x" --dtype bf16
refuse "general.type is not \"model\"" info "$dir/a.gguf"
refuse "no model at $dir/none" info "$dir/none"
refuse "no config.json" info "$dir"
refuse "name the model's file" info "$dir/a"
refuse "$dir/none" train "$dir/m" "$dir/none" --out "$dir/x"
refuse "say with --out" train "$dir/m" "$dir/rows.jsonl"
refuse "info needs a MODEL, or --methods" info
refuse "--targets takes all, attention or a list: \"w\" is no matrix" train "$dir/m" "$dir/rows.jsonl" --out "$dir/x" --targets q,w
refuse "--dtype is \"f8\"" train "$dir/m" "$dir/rows.jsonl" --out "$dir/x" --dtype f8
refuse "rank" train "$dir/m" "$dir/rows.jsonl" --out "$dir/x" --rank 0
refuse "learing-rate" train "$dir/m" "$dir/rows.jsonl" --out "$dir/x" --learing-rate 1
refuse "adapter_config.json" eval "$dir/m" "$dir/rows.jsonl" --adapter "$dir/m"
refuse "max-new" eval "$dir/m" "$dir/rows.jsonl" --max-new 47
refuse "no token id" tokenize "$dir/m" --decode "1 x"
echo '{"question": "?"}' >"$dir/bad.jsonl"
refuse "bad.jsonl:1: no dialogue" eval "$dir/m" "$dir/bad.jsonl"
refuse "bad.jsonl:1: no dialogue" pretrain "$dir/bad.jsonl" --out "$dir/x"
: >"$dir/empty.txt"
refuse "holds no text" pretrain "$dir/empty.txt" --out "$dir/x"
refuse "kv_heads" pretrain "$dir/rows.jsonl" --out "$dir/x" --heads 4 --kv-heads 3 --dim 32
cp -r "$dir/m" "$dir/cut"
head -c 5000 "$dir/m/model.safetensors" >"$dir/cut/model.safetensors"
refuse "truncated" info "$dir/cut"
sed 's/"hidden_size": 32/"hidden_size": 64/' "$dir/m/config.json" >"$dir/cut/config.json"
cp "$dir/m/model.safetensors" "$dir/cut/"
refuse "config.json describes" info "$dir/cut"
sed 's/"intermediate_size": 48/"intermediate_size": 47/' "$dir/m/config.json" >"$dir/cut/config.json"
refuse "expected [47, 32]" info "$dir/cut"
sed 's/"hidden_act": "silu"/"hidden_act": "gelu"/' "$dir/m/config.json" >"$dir/cut/config.json"
refuse "hidden_act \"gelu\" is not supported" info "$dir/cut"
echo '{' >"$dir/cut/config.json"
refuse "config.json:" info "$dir/cut"
cp "$dir/m/config.json" "$dir/cut/"
echo '{"model": {"type": "Unigram"}}' >"$dir/cut/tokenizer.json"
refuse "only \"BPE\" is supported" info "$dir/cut"
"$tool" --help | grep -q pretrain || say "no help"
for verb in info pretrain train generate eval convert export merge tokenize; do
    "$tool" "$verb" --help | grep -q "usage: plmm-model $verb" || say "no help for $verb"
done
exit $fail
