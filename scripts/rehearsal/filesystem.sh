# What the folder /data holds, with a NUL after each field: of every path the type, mode, owner, size, time, link target,
# number of names, inode and blocks; an empty field; of every file the SHA-256 and the path. Runs in the container.
set -euo pipefail
find /data -printf '%p\0%y\0%m\0%U:%G\0%s\0%T@\0%l\0%n\0%i\0%b\0'
printf '\0'
find /data -type f -print0 | xargs --null --no-run-if-empty sha256sum --zero --
