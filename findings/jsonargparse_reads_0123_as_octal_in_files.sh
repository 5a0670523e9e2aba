#!/usr/bin/env bash
# jsonargparse 4.53.0: one and the same text, 0123, for an option of type int is 123 on the command line and 83 in a config
# file, which is read as YAML 1.1, where a leading 0 means octal. A number that was padded with zeros changes in silence.
# Seen: 4.53.0 command line 123 config file 83
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "jsonargparse==4.53.0" "PyYAML==6.0.3"
printf 'steps: 0123\n' > "$folder/config.yaml"
"$folder/venv/bin/python" - "$folder/config.yaml" <<'PYTHON'
import sys

import jsonargparse

parser = jsonargparse.ArgumentParser()
parser.add_argument("--steps", type=int)
parser.add_argument("--config", action="config")
typed = parser.parse_args(["--steps", "0123"]).steps
read = parser.parse_args(["--config", sys.argv[1]]).steps
print(jsonargparse.__version__, "command line", typed, "config file", read)
assert (typed, read) == (123, 83), "the behaviour has changed"
PYTHON
