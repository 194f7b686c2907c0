"""Which of a bridge's ports an address was seen at: a table with room for what every port may have.

A port that has as many as it may forgets its own, so that no guest can have another's forgotten.  Buckets are chosen
with a secret, so that none can fill one either.  Whoever calls holds the bridge's lock.
"""

import os

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc

cdef enum:
    FOREVER = -1
    GRAIN = 1000000000              # an address that was seen so many ns ago is not moved to the front again


cdef class Addresses:
    """The table.  `age`: after how many seconds an address is forgotten that sends nothing."""

    def __cinit__(self, age: float):
        self.free_entry = NOWHERE
        self.secret = int.from_bytes(os.urandom(8), "little")
        self.age = <int64_t>(age * 1e9)
        if not self.grow(64):
            raise MemoryError

    def __dealloc__(self):
        free(self.entries)
        free(self.buckets)

    cdef int32_t *bucket(self, uint64_t key) noexcept nogil:
        cdef uint64_t mixed = (key ^ self.secret) * 0x9E3779B97F4A7C15ULL
        mixed = (mixed ^ mixed >> 32) * (self.secret | 1)
        return &self.buckets[(mixed >> 32) & self.mask]

    cdef int32_t index_of(self, uint64_t key) noexcept nogil:
        cdef int32_t index = self.bucket(key)[0]
        while index != NOWHERE and self.entries[index].key != key:
            index = self.entries[index].next
        return index

    cdef Owner *find(self, uint64_t key, int64_t now) noexcept nogil:
        cdef int32_t index = self.index_of(key)
        cdef Address *entry
        if index == NOWHERE:
            return NULL
        entry = &self.entries[index]
        if not is_static(entry) and entry.seen + self.age < now:
            self.forget(index)
            return NULL
        return entry.owner

    cdef Learned learn(self, uint64_t key, Owner *owner, int64_t now) noexcept nogil:
        cdef int32_t index = self.index_of(key)
        cdef Address *entry
        if index != NOWHERE:
            entry = &self.entries[index]
            if is_static(entry):
                return KNEW if entry.owner == owner else IS_ANOTHERS
            if entry.owner == owner:
                if now - entry.seen > GRAIN:
                    self.unlink(index)
                    self.link(index, owner)
                    entry.seen = now
                return KNEW
            self.forget(index)
        if owner.count >= owner.most:
            self.forget(owner.oldest)
        index = self.take(key)
        if index != NOWHERE:
            self.entries[index].seen = now
            self.link(index, owner)
        return KNEW

    cdef bint fix(self, uint64_t key, Owner *owner) noexcept nogil:
        cdef int32_t index = self.index_of(key)
        if index != NOWHERE:
            if is_static(&self.entries[index]):
                return False
            self.forget(index)
        index = self.take(key)
        if index == NOWHERE:
            return False
        self.entries[index].seen = FOREVER
        self.entries[index].owner = owner
        return True

    cdef void forget_all(self, Owner *owner) noexcept nogil:
        cdef uint32_t bucket
        cdef int32_t index, following
        for bucket in range(self.mask + 1):
            index = self.buckets[bucket]
            while index != NOWHERE:
                following = self.entries[index].next
                if self.entries[index].owner == owner:
                    self.forget(index)
                index = following

    cdef int32_t take(self, uint64_t key) noexcept nogil:
        cdef int32_t index = self.free_entry
        cdef int32_t *bucket = self.bucket(key)
        if index != NOWHERE:
            self.free_entry = self.entries[index].next
            self.entries[index].key = key
            self.entries[index].next = bucket[0]
            bucket[0] = index
        return index

    cdef void forget(self, int32_t index) noexcept nogil:
        cdef Address *entry = &self.entries[index]
        cdef int32_t *at = self.bucket(entry.key)
        while at[0] != index:
            at = &self.entries[at[0]].next
        at[0] = entry.next
        if not is_static(entry):
            self.unlink(index)
        entry.owner = NULL
        entry.next = self.free_entry
        self.free_entry = index

    cdef void link(self, int32_t index, Owner *owner) noexcept nogil:
        cdef Address *entry = &self.entries[index]
        entry.owner, entry.newer, entry.older = owner, NOWHERE, owner.newest
        if owner.newest != NOWHERE:
            self.entries[owner.newest].newer = index
        else:
            owner.oldest = index
        owner.newest = index
        owner.count += 1

    cdef void unlink(self, int32_t index) noexcept nogil:
        cdef Address *entry = &self.entries[index]
        cdef Owner *owner = entry.owner
        if entry.newer != NOWHERE:
            self.entries[entry.newer].older = entry.older
        else:
            owner.newest = entry.older
        if entry.older != NOWHERE:
            self.entries[entry.older].newer = entry.newer
        else:
            owner.oldest = entry.newer
        owner.count -= 1

    cdef bint grow(self, uint32_t room) noexcept nogil:
        cdef uint32_t nr_buckets = 64, index
        cdef Address *entries
        cdef int32_t *buckets
        cdef int32_t *bucket
        if room <= self.room:
            return True
        while nr_buckets < room:
            nr_buckets *= 2
        buckets = <int32_t *>calloc(nr_buckets, sizeof(int32_t))
        entries = <Address *>realloc(self.entries, room * sizeof(Address)) if buckets != NULL else NULL
        if entries == NULL:
            free(buckets)
            return False
        self.entries = entries
        for index in range(self.room, room):
            entries[index].owner, entries[index].next = NULL, self.free_entry
            self.free_entry = index
        free(self.buckets)
        self.buckets, self.mask, self.room = buckets, nr_buckets - 1, room
        for index in range(nr_buckets):
            buckets[index] = NOWHERE
        for index in range(room):
            if entries[index].owner != NULL:
                bucket = self.bucket(entries[index].key)
                entries[index].next, bucket[0] = bucket[0], index
        return True
