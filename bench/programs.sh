# Run by bash in every guest of bench/native.py, in a Debian system whose /tmp is in memory: for each "NAME TURNS" that
# comes in it answers "NAME: SECONDS SECONDS", the best of so many turns, after one that is not counted.
cd /tmp
exec 3>&1 >/dev/null 2>&1
export HOME=/tmp LC_ALL=C GIT_CONFIG_NOSYSTEM=1

cat > compute.c <<'END'
#include <stdio.h>
#include <stdint.h>
#include <stdlib.h>
static int fib(int n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }
static double a[256][256], b[256][256], c[256][256];
int main(int argc, char **argv)
{
    if (argc > 1 && argv[1][0] == 'f') { printf("%d\n", fib(35)); return 0; }
    if (argc > 1 && argv[1][0] == 'x') {
        uint64_t x = 88172645463325252ull;
        for (int i = 0; i < 100000000; i++) { x ^= x << 13; x ^= x >> 7; x ^= x << 17; }
        printf("%lu\n", (unsigned long)x);
        return 0;
    }
    for (int i = 0; i < 256; i++) for (int j = 0; j < 256; j++) { a[i][j] = i + j; b[i][j] = i - j; }
    for (int times = 0; times < 4; times++)
        for (int i = 0; i < 256; i++) for (int j = 0; j < 256; j++) {
            double sum = 0;
            for (int k = 0; k < 256; k++) sum += a[i][k] * b[k][j];
            c[i][j] += sum;
        }
    printf("%g\n", c[3][5]);
    return 0;
}
END
gcc -O2 -o compute compute.c
for number in $(seq 250); do
    echo "int f$number(int n, int *p) { int s = $number; for (int i = 0; i < n; i++) { s = s * 31 + p[i % 7];" \
        "if (s & 64) p[s & 7] ^= s >> 3; } return s; }"
done > functions.c
tar c /usr/lib/python3* /usr/share/perl 2>/dev/null | head -c 3000000 > three
head -c 128M /dev/zero > zeros
echo "create table t(a integer, b text); begin; insert into t with recursive n(i) as (select 1 union all select i + 1" \
    "from n where i < 200000) select i * 7919 % 200003, 'row ' || i from n; commit; create index ta on t(a);" \
    "select count(*), sum(a) from t where a between 1000 and 90000;" > rows.sql

row_start() { for turn in 1 2 3 4 5; do python3 -c pass; done; }
row_pyfib() { python3 -c 'f = lambda n: n if n < 2 else f(n - 1) + f(n - 2); f(29)'; }
row_json() {
    python3 -c 'import json; d = [{"number": i, "name": f"object {i}", "of": [i, i / 3, None]} for i in range(60000)]
assert json.loads(json.dumps(d)) == d'
}
row_xz() { xz -6 -k -c three > packed.xz; }
row_sha256() { sha256sum zeros; }
row_gcc() { gcc -O2 -c -o functions.o functions.c; }
row_sqlite() { rm -f rows.db; sqlite3 rows.db < rows.sql; }
row_perl() { perl -e 'my %h; for (1 .. 600000) { my $s = "key$_ of many"; $h{$1 % 1000}++ if $s =~ /^key(\d+) of/; }'; }
row_files() { find /usr | wc -l; tar c /usr/share /usr/lib/python3 | cat | wc -c; }
row_true() { for turn in $(seq 300); do /bin/true; done; }
row_git() {
    rm -rf tree && cp -r /usr/share/perl tree && cd tree && git init -q . && git add . &&
        git -c user.name=a -c user.email=a@b commit -qm all
    cd ..
}
row_matmul() { ./compute matmul; }
row_fib() { ./compute fib; }
row_xorshift() { ./compute xorshift; }

echo ready >&3
while read -r name turns; do
    [ "$name" = end ] && break
    best=
    for turn in $(seq 0 "$turns"); do
        begun=${EPOCHREALTIME/./}
        "row_$name" || { echo "$name failed" >&3; exit 1; }
        took=$((${EPOCHREALTIME/./} - begun))
        if [ "$turn" -gt 0 ] || [ "$turns" = 0 ]; then
            { [ -z "$best" ] || [ "$took" -lt "$best" ]; } && best=$took
        fi
    done
    printf '%s: %d.%06d %d.%06d\n' "$name" $((best / 1000000)) $((best % 1000000)) $((best / 1000000)) $((best % 1000000)) >&3
done
