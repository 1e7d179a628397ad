#!/bin/bash
# system.sh ROOT COMMANDS WHEELS REPOSITORY PYTHON: runs COMMANDS on a copy-on-write copy of this system with its own /etc,
# users, processes and network (without a way out: packages come from WHEELS), in which RabbitMQ, munge, slurmctld and a simulated cloud run.
set -eu -o pipefail
root=$1 commands=$2 wheels=$3 repository=$4 python=$5
mount -t tmpfs tmpfs "$root"
mkdir "$root"/{upper,work,all}
mount -t overlay overlay -o "lowerdir=/,upperdir=$root/upper,workdir=$root/work" "$root/all"
all=$root/all
mount -t proc proc "$all/proc"
mount --rbind /dev "$all/dev"
mount --rbind /sys "$all/sys"
for folder in run tmp var/spool var/log var/lib/slurm var/lib/rabbitmq etc/rabbitmq etc/lamplighter; do
  mkdir -p "$all/$folder"
  mount -t tmpfs tmpfs "$all/$folder"
done
chmod 1777 "$all/tmp"
# its environment runs the cloud; a copy of it is what a user has
mkdir -p "$all$repository" "$all/root/lamplighter"
mount --bind -o ro "$repository" "$all$repository"
git -C "$repository" ls-files -z | tar -C "$repository" --null -T - -c | tar -x -C "$all/root/lamplighter"
cp "$commands" "$all/root/commands"
cp -r "$wheels" "$all/root/wheels"
ip link set lo up
ip address add 10.0.0.0/24 dev lo
echo controller > /proc/sys/kernel/hostname
printf '%s\n' '127.0.0.1 localhost controller' '10.0.0.1 node1' '10.0.0.2 node2' > "$all/etc/hosts"
cp "$repository/tests/install/systemctl" "$all/usr/local/sbin/systemctl"
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
  PIP_CONFIG_FILE=/dev/null PIP_NO_INDEX=1 PIP_FIND_LINKS=/root/wheels PIP_DISABLE_PIP_VERSION_CHECK=1 \
  chroot "$all" "$repository/tests/install/inside.sh" "$repository" "$python"
