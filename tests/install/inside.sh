#!/bin/bash
# Inside the copy: starts what the quick start expects, then runs the commands.
set -eu -o pipefail
repository=$1 python=$2
for user in munge rabbitmq slurm; do
  install -d -o "$user" -g "$user" /run/$user /var/log/$user /var/lib/$user
done
install -d -o munge -g munge -m 0755 /run/munge
install -d -o munge -g munge -m 0700 /etc/munge /var/lib/munge
install -d -o slurm -g slurm /var/lib/slurm/slurmctld /var/log/slurm
install -d /etc/slurm /var/log/cloud
head -c 128 /dev/urandom > /etc/munge/munge.key
chown munge: /etc/munge/munge.key
chmod 0400 /etc/munge/munge.key
setpriv --reuid=munge --regid=munge --clear-groups munged
rabbitmq-server > /var/log/rabbitmq/out 2>&1 &
for _ in $(seq 120); do rabbitmqctl --quiet await_startup > /dev/null 2>&1 && break; sleep 0.5; done

cd "$repository"
"$python" -m tests.install.cloud > /var/log/cloud/cloud.log 2>&1 &
{
  echo 'ClusterName=vespa
SlurmctldHost=controller(127.0.0.1)
SlurmUser=slurm
StateSaveLocation=/var/lib/slurm/slurmctld
SlurmctldLogFile=/var/log/slurm/slurmctld.log
SlurmdLogFile=/var/log/slurm/slurmd-%n.log
SlurmdSpoolDir=/var/spool/slurmd-%n
SlurmdPidFile=/run/slurmd-%n.pid
SlurmctldPidFile=/run/slurm/slurmctld.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
MailProg=/usr/bin/true
SlurmdParameters=config_overrides
ReturnToService=2'
  for number in 1 2; do
    echo "NodeName=node$number Port=$((17000 + number)) CPUs=2 RealMemory=1000 State=CLOUD"
  done
  echo 'PartitionName=cloud Nodes=ALL Default=YES State=UP'
} > /etc/slurm/slurm.conf
systemctl restart slurmctld
for _ in $(seq 100); do [ -e /run/cloud.ready ] && break; sleep 0.1; done
cd /root/lamplighter
cp /run/clouds.yaml .
exec bash -eu -o pipefail /root/commands
