# Messages of 9P2000.L.  Numbers as in Linux's include/net/9p/9p.h and the protocol's description (diod, protocol.md).
cdef enum:
    TLERROR = 6                 # never sent; its answer is Rlerror
    TSTATFS = 8
    TLOPEN = 12
    TLCREATE = 14
    TSYMLINK = 16
    TMKNOD = 18
    TRENAME = 20
    TREADLINK = 22
    TGETATTR = 24
    TSETATTR = 26
    TXATTRWALK = 30
    TXATTRCREATE = 32
    TREADDIR = 40
    TFSYNC = 50
    TLOCK = 52
    TGETLOCK = 54
    TLINK = 70
    TMKDIR = 72
    TRENAMEAT = 74
    TUNLINKAT = 76
    TVERSION = 100
    TAUTH = 102
    TATTACH = 104
    TFLUSH = 108
    TWALK = 110
    TREAD = 116
    TWRITE = 118
    TCLUNK = 120
    TREMOVE = 122

    HEADER = 7                  # size[4] type[1] tag[2]
    LEAST_MSIZE = 4096
    MOST_MSIZE = 1 << 19        # as much as Linux uses over Xen's rings
    MOST_NAMES = 16             # of one Twalk
    NAME_SIZE = 256             # a name and its NUL
    PATH_SIZE = 4096            # what a symbolic link says, and its NUL

    QID_DIRECTORY = 0x80
    QID_SYMLINK = 0x02

    GETATTR_BASIC = 0x7FF
    GETATTR_BTIME = 0x800

    SETATTR_MODE = 0x1
    SETATTR_SIZE = 0x8
    SETATTR_ATIME = 0x10
    SETATTR_MTIME = 0x20
    SETATTR_ATIME_SET = 0x80
    SETATTR_MTIME_SET = 0x100

    LOCK_SUCCESS = 0
    LOCK_BLOCKED = 1
    LOCK_ERROR = 2
    LOCK_READ = 0
    LOCK_WRITE = 1
    LOCK_UNLOCK = 2
    LOCK_WAITS = 1              # a flag

    # Flags of Tlopen and Tlcreate have a numbering of their own, Linux's for most processors.
    OPEN_ACCESS = 0o3
    OPEN_EXCL = 0o200
    OPEN_TRUNC = 0o1000
    OPEN_APPEND = 0o2000
    OPEN_DSYNC = 0o10000
    OPEN_DIRECTORY = 0o200000
    OPEN_SYNC = 0o4000000
