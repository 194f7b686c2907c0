# Makes a system on xvda out of the archive that is on xvdb.  It runs in a guest, with busybox, and tells the host on
# standard output how far it is: lines "stage: TEXT", and between them the status lines of dpkg.
#
# The environment has KERNEL, the release of the kernel that the system gets modules of, and ZEROED, whether the disk
# is known to be all zeroes (yes or no); /tools has mke2fs, what it needs, and a line for chpasswd.
set -eu
target=/target
archives=/var/cache/apt/archives
log=/tmp/log
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true LC_ALL=C.UTF-8 LANG=C.UTF-8

stage() { echo "stage: $*"; }

# By env, for busybox would take a program's name for one of its own.
inside() { chroot $target /usr/bin/env "$@"; }

# Its words go to the log, its status to the host.
run_dpkg() {
    if ! inside dpkg --force-unsafe-io --force-confnew --status-fd 3 "$@" 3>&1 >>$log 2>&1 </dev/null; then
        tail -n 30 $log >&2
        exit 1
    fi
}

make_file_system() {
    MKE2FS_CONFIG=/tools/mke2fs.conf /tools/ld-linux-x86-64.so.2 --library-path /tools \
        /tools/mke2fs -q -F -t ext4 -L root "$@" /dev/xvda
}

stage "making the file system"
# Where the disk is zeroes there is no need to write more of them; mke2fs takes the hint from version 1.46.6 on.
if [ "$ZEROED" = no ] || ! make_file_system -E assume_storage_prezeroed=1 2>>$log; then
    make_file_system
fi
mkdir $target
mount -t ext4 -o noatime,barrier=0 /dev/xvda $target    # nobody sees it before it is whole

stage "putting files in place"
tar -x -p -f /dev/xvdb -C $target

mount -o bind /dev $target/dev
mount -t devpts devpts $target/dev/pts 2>/dev/null || :
mount -t proc proc $target/proc
mount -t sysfs sysfs $target/sys
printf '#!/bin/sh\nexit 101\n' >$target/usr/sbin/policy-rc.d     # nothing is to be started here
chmod 755 $target/usr/sbin/policy-rc.d

stage "unpacking what needs dpkg"
# base-passwd brings /etc/passwd, which the scripts of others count on.
run_dpkg --force-depends --unpack $archives/base-passwd.deb
run_dpkg --force-depends --unpack $(cd $target && ls .$archives/*.deb | sed 's/^\.//')
rm -f $target$archives/*.deb

stage "configuring"
run_dpkg --configure -a

stage "finishing"
# A guest has no screen for a second login, and no LVM whose snapshots are to be looked for at each boot.
inside systemctl -q disable getty@tty1.service e2scrub_reap.service e2scrub_all.timer 2>>$log || :
inside systemctl -q enable systemd-networkd.service systemd-resolved.service 2>>$log
# Nobody's clone is to be taken for another: the keys are made when they are needed first.
rm -f $target/etc/ssh/ssh_host_*
inside depmod "$KERNEL" 2>/dev/null
if [ -s /tools/password ]; then
    inside chpasswd </tools/password
else
    inside passwd -q -d root
fi
rm -f $target/usr/sbin/policy-rc.d $target/var/lib/dbus/machine-id $target/var/log/dpkg.log \
    $target/var/log/alternatives.log $target/var/cache/apt/*.bin
: >$target/etc/machine-id
umount $target/dev/pts $target/dev $target/proc $target/sys
fstrim $target 2>/dev/null || :
umount $target
