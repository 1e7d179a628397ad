#!/bin/bash
# system.sh ROOT COMMANDS WHEELS REPOSITORY PYTHON: runs COMMANDS on a copy-on-write copy of this system with its own /etc,
# users, processes and network (without a way out: packages come from WHEELS), in which RabbitMQ, munge, slurmctld and a simulated cloud run.
# Another copy in its folder /worker, with files of its own, is a second host.
set -eu -o pipefail
root=$1 commands=$2 wheels=$3 repository=$4 python=$5
mount -t tmpfs tmpfs "$root"
copy_of_system() { # TARGET NAME
  mkdir -p "$root/$2"/{upper,work} "$1"
  mount -t overlay overlay -o "lowerdir=/,upperdir=$root/$2/upper,workdir=$root/$2/work" "$1"
  mount -t proc proc "$1/proc"
  mount --rbind /dev "$1/dev"
  mount --rbind /sys "$1/sys"
  for folder in run tmp var/spool var/log var/lib/slurm var/lib/rabbitmq etc/rabbitmq etc/lamplighter; do
    mkdir -p "$1/$folder"
    mount -t tmpfs tmpfs "$1/$folder"
  done
  chmod 1777 "$1/tmp"
  printf '%s\n' '127.0.0.1 localhost controller' '10.0.0.1 node1' '10.0.0.2 node2' > "$1/etc/hosts"
  cp "$repository/tests/install/systemctl" "$1/usr/local/sbin/systemctl"
  mkdir -p "$1/root/wheels"
  mount --bind -o ro "$wheels" "$1/root/wheels"
}
all=$root/all
copy_of_system "$all" controller
copy_of_system "$all/worker" worker
# its environment runs the cloud; a copy of it is what a user has
mkdir -p "$all$repository" "$all/root/lamplighter"
mount --bind -o ro "$repository" "$all$repository"
git -C "$repository" ls-files -z | tar -C "$repository" --null -T - -c | tar -x -C "$all/root/lamplighter"
cp "$commands" "$all/root/commands"
ip link set lo up
ip address add 10.0.0.0/24 dev lo
echo controller > /proc/sys/kernel/hostname
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
  PIP_CONFIG_FILE=/dev/null PIP_NO_INDEX=1 PIP_FIND_LINKS=/root/wheels PIP_DISABLE_PIP_VERSION_CHECK=1 \
  chroot "$all" "$repository/tests/install/inside.sh" "$repository" "$python"
