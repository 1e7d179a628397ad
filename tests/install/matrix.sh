#!/bin/bash
# matrix.sh SUITE...: run `make test` on each of these releases of Debian, in a chroot that debootstrap
# makes, once on each database of STORES="sqlite postgresql"; TESTS as for `make test`. The last commit is tested.
# Prints one line for each run at the end; exits with 1 if a test failed. The chroots stay, for the next run: `make clean` removes them.
# Folders of package mirrors on this host's disk: MATRIX_BIND="/srv/mirror ...". Debian's packages come
# from where this host's come from, or from MATRIX_MIRROR.
set -euo pipefail
[[ $EUID == 0 ]] || { echo "make matrix: run this as root: it makes chroots"; exit 3; }
command -v debootstrap >/dev/null || { echo "make matrix: run apt-get install debootstrap"; exit 3; }
repository=$(git -C "$(dirname "$0")" rev-parse --show-toplevel)
chroots=${MATRIX_FOLDER:-${XDG_CACHE_HOME:-$HOME/.cache}/lamplighter-testbed/matrix}
mirror=${MATRIX_MIRROR:-$(apt-get indextargets --format '$(ORIGIN) $(LABEL) $(REPO_URI)' 'Created-By: Packages' |
  sed -n 's/^Debian Debian //p' | head -1)}
results=()
failed=0
for suite in "$@"; do
  root=$chroots/$suite
  if [[ ! -e $root/.complete ]]; then
    echo "== $suite: debootstrap into $root"
    rm -rf --one-file-system "$root"  # half of one, if the last run was stopped
    mkdir -p "$root"
    debootstrap --variant=minbase --include=ca-certificates,git,make,python3-venv,gcc,libc6-dev,python3-dev "$suite" "$root" ${mirror:+"$mirror"}
    touch "$root/.complete"
  fi
  rm -rf "$root/srv/lamplighter"
  git clone --quiet "$repository" "$root/srv/lamplighter"
  for file in /etc/resolv.conf /etc/hosts /etc/pip.conf /etc/ssl/certs/ca-certificates.crt; do
    [[ ! -e $file ]] || cp "$file" "$root$file"
  done
  for store in ${STORES:-sqlite postgresql}; do
    echo "== $suite, $store: make test, of $(git -C "$repository" log -1 --format=%h)"
    # All mounts end with the namespace. slurmd needs a root that is a mount point.
    MATRIX_BIND=${MATRIX_BIND:-} root=$root tests=${TESTS:-} store=$store unshare --mount --pid --fork --kill-child --propagation private bash -c '
      set -e
      mount --bind "$root" "$root"
      mount -t proc proc "$root/proc"
      mount --rbind /dev "$root/dev"
      mount --rbind /sys "$root/sys"
      for folder in $MATRIX_BIND; do
        mkdir -p "$root$folder" && mount --bind "$folder" "$root$folder"
      done
      # A root of its own, not a chroot: `docker exec` would enter the root of the mount namespace.
      cd "$root"
      mkdir -p .outside
      pivot_root . .outside
      exec env -i HOME=/root LANG=C.UTF-8 CI=true tests="$tests" store="$store" PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        bash -c "cd / && umount -l /.outside && rmdir /.outside && exec make -C /srv/lamplighter test TESTS=\"\$tests\" STORE=\"\$store\""
    ' |& tee "$root/srv/matrix-$store.log" || failed=1
    results+=("$suite, $store: $(grep -E '^=+ .*(passed|failed|error).* =+$' "$root/srv/matrix-$store.log" | tail -1 || echo "no result: $root/srv/matrix-$store.log")")
  done
done
printf '%s\n' "" "${results[@]}"
exit $failed
