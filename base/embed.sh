#!/bin/sh
# Writes C that carries files inside the program:
#   embed.sh NAME FILE…  ->  const struct embedded_file embedded_NAME[] and embedded_NAME_count
set -eu
name=$1
shift
printf '#include "base/embedded.h"\n\n'
n=0
for file in "$@"; do
	printf 'static const unsigned char bytes_%d[] = {\n' "$n"
	od -An -v -tu1 "$file" | sed 's/  */,/g; s/^,//; s/$/,/'
	printf '0};\n\n'
	n=$((n + 1))
done
printf 'const struct embedded_file embedded_%s[] = {\n' "$name"
n=0
for file in "$@"; do
	printf '\t{ "%s", bytes_%d, sizeof(bytes_%d) - 1 },\n' "$(basename "$file")" "$n" "$n"
	n=$((n + 1))
done
printf '};\nconst size_t embedded_%s_count = %d;\n' "$name" "$n"
