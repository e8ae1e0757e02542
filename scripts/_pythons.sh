# Sourced by scripts/lowest and scripts/pythons: finds the supported Pythons that are installed here.

# Print the path of a Python: of one on PATH, or of one that pyenv has.
installed() {
  local candidate
  for candidate in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python; do
    if "$candidate" -c '' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  return 1
}

# Print the versions that the classifiers in pyproject.toml name, the oldest first, without that of .venv.
other_pythons() {
  local default
  default=$(python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  sed -n 's/.*"Programming Language :: Python :: \(3\.[0-9]*\)".*/\1/p' pyproject.toml | grep -vFx "$default"
}

# Print the version that scripts/lowest uses: the oldest of them that is installed, or nothing.
python_of_lowest() {
  local version
  for version in $(other_pythons); do
    if installed "$version" >/dev/null; then
      echo "$version"
      return
    fi
  done
}
