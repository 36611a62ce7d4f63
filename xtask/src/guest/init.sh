#!/bin/busybox sh
# The guest's first process: mounts what a machine has, then runs the tests that were packed, one
# program after the other, and tells the console what became of them.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TMPDIR=/tmp RUST_BACKTRACE=1
if [ "$1" != again ]; then
    # pivot_root(2) wants a root that is mounted on something, which an initramfs is not.
    mkdir -p /again
    mount --bind / /again
    cd /again
    mount --move . /
    exec chroot . /init again
fi
mount -t proc -o nosuid,nodev,noexec proc /proc
mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
mount -t devtmpfs -o mode=755 dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t tmpfs -o mode=755 run /run
mount -t tmpfs -o mode=1777 tmp /tmp
mount -t cgroup2 -o nosuid,nodev,noexec,nsdelegate cgroup2 /sys/fs/cgroup
while read -r module; do
    insmod "/modules/$module" || echo "@@ module $module"
done </modules/order
ip link set lo up
hostname guest
echo "@@ up $(uname -r), controllers $(cat /sys/fs/cgroup/cgroup.controllers)"
[ -b /dev/vda ] && export CORTEN_GUEST_DISK=/dev/vda
# name, path and arguments
while read -r name program arguments; do
    echo "@@ begin $name"
    # shellcheck disable=SC2086
    (cd / && exec "$program" $arguments) </dev/null 2>&1
    echo "@@ end $name $?"
    left=$(find /sys/fs/cgroup -mindepth 1 -type d)
    [ -z "$left" ] || echo "@@ left" $left
done </tests
echo "@@ done"
poweroff -f
