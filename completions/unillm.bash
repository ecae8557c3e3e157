# bash completion for unillm. Generated from the table of commands; do not edit.

_unillm_models() {
  local name skip=
  # A colon ends a word in bash: what stands before it must not come again.
  if [[ $cur == *:* && $COMP_WORDBREAKS == *:* ]]; then skip=${cur%:*}:; fi
  while IFS= read -r name; do
    if [[ $name == "$cur"* ]]; then COMPREPLY+=("${name#"$skip"}"); fi
  done < <(unillm complete models 2>/dev/null)
}

# The words of the line, joined again where bash split them at a colon or an equals sign.
_unillm_words() {
  local i joined=0
  words=()
  for ((i = 0; i <= COMP_CWORD; i++)); do
    if [[ $i -gt 0 && ( ${COMP_WORDS[i]} == [:=] || $joined == 1 ) && ${#words[@]} -gt 1 ]]; then
      words[${#words[@]} - 1]+=${COMP_WORDS[i]}
      [[ ${COMP_WORDS[i]} == [:=] ]] && joined=1 || joined=0
    else
      words+=("${COMP_WORDS[i]}")
    fi
  done
  cur=${words[${#words[@]} - 1]}
  prev=${words[${#words[@]} - 2]}
  if [[ $cur == --*=* ]]; then prev=${cur%%=*} cur=${cur#*=}; fi
}

_unillm() {
  local cur prev verb words flags i
  COMPREPLY=()
  _unillm_words
  verb=
  for ((i = 1; i < ${#words[@]} - 1; i++)); do
    if [[ ${words[i]} != -* ]]; then verb=${words[i]}; break; fi
  done
  if [[ -z $verb ]]; then
    COMPREPLY=($(compgen -W 'generate shell run history models list ls serve ps stop pin unpin search pull show rm cp create quantize export import lock sync prune verify config doctor bench bench-compare bench-serve --version --help -h' -- "$cur"))
    return
  fi
  flags=
  case $verb in
    generate) flags='--prompt -p --model -m --system -s --logit-bias --raw --verbose -v --max-tokens -n --temperature -t --top-k --top-p --min-p --typical-p --repetition-penalty --presence-penalty --frequency-penalty --seed --stop --schema --regex --choice --grammar --think/--no-think --effort --hide-thinking --context --device --dtype --kv-dtype --prefix-cache --attention-backend --max-batch-tokens --max-running --exact --quantize --offline --draft --host --local --json --quiet -q --debug --help -h' ;;
    shell) flags='--model -m --continue --resume --system -s --verbose -v --max-tokens -n --temperature -t --top-k --top-p --min-p --typical-p --repetition-penalty --presence-penalty --frequency-penalty --seed --stop --think/--no-think --effort --hide-thinking --context --device --dtype --kv-dtype --prefix-cache --attention-backend --max-batch-tokens --max-running --exact --quantize --offline --draft --host --local --json --quiet -q --debug --help -h' ;;
    run) flags='--continue --resume --system -s --verbose -v --max-tokens -n --temperature -t --top-k --top-p --min-p --typical-p --repetition-penalty --presence-penalty --frequency-penalty --seed --stop --schema --regex --choice --grammar --think/--no-think --effort --hide-thinking --context --device --dtype --kv-dtype --prefix-cache --attention-backend --max-batch-tokens --max-running --exact --quantize --offline --draft --host --local --json --quiet -q --debug --help -h' ;;
    history) flags='--all --json --quiet -q --debug --help -h' ;;
    models|list|ls) flags='--ollama --outdated --json --quiet -q --debug --help -h' ;;
    serve) flags='--model -m --keep-alive --max-queue --tokenizer-workers --host --port --api-key --api-key-file --cors --tls-cert --tls-key --context --device --dtype --kv-dtype --prefix-cache --attention-backend --max-batch-tokens --max-running --exact --quantize --offline --json --quiet -q --debug --help -h' ;;
    ps) flags='--host --json --quiet -q --debug --help -h' ;;
    stop) flags='--host --json --quiet -q --debug --help -h' ;;
    pin) flags='--host --json --quiet -q --debug --help -h' ;;
    unpin) flags='--host --json --quiet -q --debug --help -h' ;;
    search) flags='--limit --offline --json --quiet -q --debug --help -h' ;;
    pull) flags='--name --all --dry-run --offline --limit-rate --json --quiet -q --debug --help -h' ;;
    show) flags='--architectures --template --modelfile --parameters --system --license --json --quiet -q --debug --help -h' ;;
    rm) flags='--dry-run --json --quiet -q --debug --help -h' ;;
    cp) flags='--json --quiet -q --debug --help -h' ;;
    create) flags='--file -f --offline --json --quiet -q --debug --help -h' ;;
    quantize) flags='--to --out -o --name --offline --json --quiet -q --debug --help -h' ;;
    export) flags='--json --quiet -q --debug --help -h' ;;
    import) flags='--name --json --quiet -q --debug --help -h' ;;
    lock) flags='--file -f --json --quiet -q --debug --help -h' ;;
    sync) flags='--file -f --offline --limit-rate --json --quiet -q --debug --help -h' ;;
    prune) flags='--partial --dry-run --json --quiet -q --debug --help -h' ;;
    verify) flags='--json --quiet -q --debug --help -h' ;;
    config) flags='--origin --json --quiet -q --debug --help -h' ;;
    doctor) flags='--offline --json --quiet -q --debug --help -h' ;;
    bench) flags='--prompt-tokens --answer-tokens --batch --runs --throughput --context --device --dtype --kv-dtype --prefix-cache --attention-backend --max-batch-tokens --max-running --exact --quantize --offline --draft --json --quiet -q --debug --help -h' ;;
    bench-compare) flags='--synthetic --kind --test --peer --rounds --threads --build-peers --llama-cpp --offline --json --quiet -q --debug --help -h' ;;
    bench-serve) flags='--url --requests --concurrency --rate --prompt-tokens --answer-tokens --chat --api-key --json --quiet -q --debug --help -h' ;;
  esac
  case "$verb $prev" in
    "generate --prompt"|"generate -p"|"generate --system"|"generate -s"|"generate --logit-bias"|"generate --max-tokens"|"generate -n"|"generate --temperature"|"generate -t"|"generate --top-k"|"generate --top-p"|"generate --min-p"|"generate --typical-p"|"generate --repetition-penalty"|"generate --presence-penalty"|"generate --frequency-penalty"|"generate --seed"|"generate --stop"|"generate --schema"|"generate --regex"|"generate --choice"|"generate --grammar"|"generate --context"|"generate --attention-backend"|"generate --max-batch-tokens"|"generate --max-running"|"generate --quantize"|"generate --host"|"shell --resume"|"shell --system"|"shell -s"|"shell --max-tokens"|"shell -n"|"shell --temperature"|"shell -t"|"shell --top-k"|"shell --top-p"|"shell --min-p"|"shell --typical-p"|"shell --repetition-penalty"|"shell --presence-penalty"|"shell --frequency-penalty"|"shell --seed"|"shell --stop"|"shell --context"|"shell --attention-backend"|"shell --max-batch-tokens"|"shell --max-running"|"shell --quantize"|"shell --host"|"run --resume"|"run --system"|"run -s"|"run --max-tokens"|"run -n"|"run --temperature"|"run -t"|"run --top-k"|"run --top-p"|"run --min-p"|"run --typical-p"|"run --repetition-penalty"|"run --presence-penalty"|"run --frequency-penalty"|"run --seed"|"run --stop"|"run --schema"|"run --regex"|"run --choice"|"run --grammar"|"run --context"|"run --attention-backend"|"run --max-batch-tokens"|"run --max-running"|"run --quantize"|"run --host"|"serve --keep-alive"|"serve --max-queue"|"serve --tokenizer-workers"|"serve --host"|"serve --port"|"serve --api-key"|"serve --api-key-file"|"serve --cors"|"serve --tls-cert"|"serve --tls-key"|"serve --context"|"serve --attention-backend"|"serve --max-batch-tokens"|"serve --max-running"|"serve --quantize"|"ps --host"|"stop --host"|"pin --host"|"unpin --host"|"search --limit"|"pull --name"|"pull --limit-rate"|"create --file"|"create -f"|"quantize --to"|"quantize --out"|"quantize -o"|"quantize --name"|"import --name"|"lock --file"|"lock -f"|"sync --file"|"sync -f"|"sync --limit-rate"|"bench --prompt-tokens"|"bench --answer-tokens"|"bench --batch"|"bench --runs"|"bench --throughput"|"bench --context"|"bench --attention-backend"|"bench --max-batch-tokens"|"bench --max-running"|"bench --quantize"|"bench-compare --synthetic"|"bench-compare --kind"|"bench-compare --test"|"bench-compare --peer"|"bench-compare --rounds"|"bench-compare --threads"|"bench-compare --llama-cpp"|"bench-serve --url"|"bench-serve --requests"|"bench-serve --concurrency"|"bench-serve --rate"|"bench-serve --prompt-tokens"|"bench-serve --answer-tokens"|"bench-serve --api-key") return ;;
    "generate --model"|"generate -m"|"generate --draft"|"shell --model"|"shell -m"|"shell --draft"|"run --draft"|"serve --model"|"serve -m"|"bench --draft") _unillm_models; return ;;
    "generate --effort"|"shell --effort"|"run --effort") COMPREPLY=($(compgen -W 'low medium high' -- "$cur")); return ;;
    "generate --device"|"shell --device"|"run --device"|"serve --device"|"bench --device") COMPREPLY=($(compgen -W 'auto cpu cuda mps' -- "$cur")); return ;;
    "generate --dtype"|"shell --dtype"|"run --dtype"|"serve --dtype"|"bench --dtype") COMPREPLY=($(compgen -W 'auto float32 float16 bfloat16' -- "$cur")); return ;;
    "generate --kv-dtype"|"shell --kv-dtype"|"run --kv-dtype"|"serve --kv-dtype"|"bench --kv-dtype") COMPREPLY=($(compgen -W 'auto fp32 fp16 bf16 int8 fp8' -- "$cur")); return ;;
    "generate --prefix-cache"|"shell --prefix-cache"|"run --prefix-cache"|"serve --prefix-cache"|"bench --prefix-cache") COMPREPLY=($(compgen -W 'radix hash off' -- "$cur")); return ;;
  esac
  if [[ $cur == -* ]]; then
    COMPREPLY=($(compgen -W "$flags" -- "$cur"))
    return
  fi
  case $verb in
    shell|run|models|list|ls|stop|pin|unpin|pull|show|rm|cp|quantize|export|lock|verify|bench|bench-compare|bench-serve) _unillm_models ;;
  esac
}

complete -o default -F _unillm unillm
