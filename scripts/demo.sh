#!/usr/bin/env bash
# Run the demo: bash scripts/demo.sh [--out DIR] [--seconds N] [--data FOLDER_OF_PAIRS] [--rate HZ]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup_env.sh"
exec python -m csknet_ros.tools.demo "$@"
