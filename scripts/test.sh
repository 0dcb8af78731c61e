#!/usr/bin/env bash
# Run the test suite: bash scripts/test.sh [PYTEST ARGUMENTS]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup_env.sh"
cd "$repository"
exec python -m pytest "$@"
