# Sourced by the scripts, from the root of the checkout: makes a virtual environment ready and puts it on PATH, or prints
# what is missing. `torch=yes` installs PyTorch too; `environment=NAME` selects .venv-NAME instead of .venv.

candidates=(python3 python3.14 python3.13 python3.12 python3.11 python)
for python in ${PYTHON:+"$PYTHON"} "${candidates[@]}"; do
  if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    break
  fi
  python=
done
if [ -z "$python" ]; then
  echo "This needs Python 3.11 or newer, and none of ${candidates[*]} is that. Install one, or name it: PYTHON=/path/to/python3 $0" >&2
  exit 1
fi
"$python" scripts/_environment.py ${torch:+--with-torch} ${environment:+"$environment"}
export PATH="$PWD/.venv${environment:+-$environment}/bin:$PATH"
unset python candidates torch environment PYTHONHOME PYTHONPATH
