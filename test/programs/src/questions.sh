#!/usr/bin/env bash
# The questions of questions.c, asked by bash and coreutils: every line is a process of its own.
set -eu
folder=$1
printf 'env=%s\n' "${SHOP_MODE:-}"
printf 'text=%s\n' "$(cat "$folder/hello.txt")"
printf 'stat=%s\n' "$(stat -c '%s %a %Y' "$folder/hello.txt")"
printf 'list=%s\n' "$(ls "$folder" | LC_ALL=C sort | paste -sd ,)"
if message=$(LC_ALL=C cat "$folder/missing.txt" 2>&1); then
  echo 'missing=0'
else
  [[ $message == *'No such file or directory' ]] && echo 'missing=2'
fi
