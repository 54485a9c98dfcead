#!/usr/bin/env bash
# Prints the path of a Jaeger v2: JAEGER_BIN, the one on the path, or one built with Go (some
# minutes, once) into a cache outside the repository. Exit status 1 when there is none to be had.
set -euo pipefail

if [ -n "${JAEGER_BIN:-}" ]; then
    echo "$JAEGER_BIN"
    exit
fi
if command -v jaeger; then
    exit
fi
cache="${XDG_CACHE_HOME:-$HOME/.cache}/region-stream/bin"
if [ -x "$cache/jaeger" ]; then
    echo "$cache/jaeger"
    exit
fi
if ! command -v go >/dev/null; then
    echo "error: no Jaeger: set JAEGER_BIN, or install Go 1.26 to build it" >&2
    exit 1
fi
echo "building Jaeger v2 (some minutes, once) …" >&2
mkdir -p "$cache"
if ! GOBIN="$cache" go install github.com/jaegertracing/jaeger/cmd/jaeger@798e4b0fcf22 2>/dev/null; then
    # A proxy that does not resolve commits: v1.76.0 is v2.13. Its go.mod replaces a module, which
    # `go install` refuses, so its own folder is what is built, with the sums it comes with.
    work="$(mktemp -d)"
    trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
    source="$(cd "$work" && go mod download -json github.com/jaegertracing/jaeger@v1.76.0 | sed -n 's/.*"Dir": "\(.*\)",*/\1/p')"
    cp -r "$source" "$work/jaeger"
    chmod -R u+w "$work/jaeger"
    (cd "$work/jaeger" && go build -o "$cache/jaeger" ./cmd/jaeger) >&2
fi
echo "$cache/jaeger"
