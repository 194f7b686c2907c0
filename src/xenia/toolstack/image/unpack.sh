# Puts the files of a container image, in the archive that is on xvdb, onto a file system that it makes on xvda.  It runs
# in a guest, with busybox, and tells the host on standard output how far it is: lines "stage: TEXT".
#
# The environment has ZEROED, whether the disk is known to be all zeroes (yes or no), and INODES, how many files there
# is to be room for; /tools has mke2fs and GNU's tar, and what they need.
set -eu
target=/target

stage() { echo "stage: $*"; }

run_tool() { tool=$1; shift; /tools/ld-linux-x86-64.so.2 --library-path /tools "/tools/$tool" "$@"; }

make_file_system() {
    MKE2FS_CONFIG=/tools/mke2fs.conf run_tool mke2fs -q -F -t ext4 -L root -N "$INODES" "$@" /dev/xvda
}

stage "making the file system"
if [ "$ZEROED" = no ] || ! make_file_system -E assume_storage_prezeroed=1 2>/dev/null; then
    make_file_system
fi
mkdir $target
mount -t ext4 -o noatime,barrier=0 /dev/xvda $target

stage "putting files in place"
run_tool tar -x -p -f /dev/xvdb -C $target --numeric-owner --xattrs '--xattrs-include=*' --warning=no-unknown-keyword

stage "finishing"
# Nothing was deleted: where the disk was zeroes, what is free still is, and to say so of 15T takes a minute.
[ "$ZEROED" = yes ] || fstrim $target 2>/dev/null || :
umount $target
