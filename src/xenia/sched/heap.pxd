# A binary heap of things that each have a number: who has the least comes first, and of equal ones who came first.
# Numbers count round: they are compared by their difference, which is to be less than 2^63.
from libc.stdint cimport uint32_t, uint64_t

cdef struct HeapNode:       # in what is put into a heap
    uint64_t key
    uint64_t turn
    uint32_t place
    void *owner

cdef struct Heap:
    HeapNode **nodes
    uint32_t nr
    uint32_t room
    uint64_t turns

# Room for so many.  False: there is no memory.
cdef bint heap_room(Heap *heap, uint32_t nr) noexcept nogil
cdef void heap_free(Heap *heap) noexcept nogil
# Precondition: there is room.
cdef void heap_add(Heap *heap, HeapNode *node, uint64_t key) noexcept nogil
cdef void heap_remove(Heap *heap, HeapNode *node) noexcept nogil
