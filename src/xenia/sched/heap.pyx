"""A binary heap, without memory of its own for what is in it: it cannot fail once there is room."""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc


cdef bint heap_room(Heap *heap, uint32_t nr) noexcept nogil:
    cdef HeapNode **nodes
    if nr > heap.room:
        nodes = <HeapNode **>realloc(heap.nodes, (2 * nr + 16) * sizeof(HeapNode *))
        if nodes == NULL:
            return False
        heap.nodes = nodes
        heap.room = 2 * nr + 16
    return True


cdef void heap_free(Heap *heap) noexcept nogil:
    free(heap.nodes)
    heap.nodes = NULL
    heap.nr = heap.room = 0


cdef inline bint before(HeapNode *one, HeapNode *other) noexcept nogil:
    if one.key != other.key:
        return <int64_t>(one.key - other.key) < 0
    return <int64_t>(one.turn - other.turn) < 0


cdef inline void put(Heap *heap, HeapNode *node, uint32_t place) noexcept nogil:
    heap.nodes[place] = node
    node.place = place


cdef void rise(Heap *heap, HeapNode *node, uint32_t place) noexcept nogil:
    while place and before(node, heap.nodes[(place - 1) // 2]):
        put(heap, heap.nodes[(place - 1) // 2], place)
        place = (place - 1) // 2
    put(heap, node, place)


cdef void sink(Heap *heap, HeapNode *node, uint32_t place) noexcept nogil:
    cdef uint32_t child = 2 * place + 1
    while child < heap.nr:
        if child + 1 < heap.nr and before(heap.nodes[child + 1], heap.nodes[child]):
            child += 1
        if before(node, heap.nodes[child]):
            break
        put(heap, heap.nodes[child], place)
        place = child
        child = 2 * place + 1
    put(heap, node, place)


cdef void heap_add(Heap *heap, HeapNode *node, uint64_t key) noexcept nogil:
    node.key = key
    node.turn = heap.turns
    heap.turns += 1
    heap.nr += 1
    rise(heap, node, heap.nr - 1)


cdef void heap_remove(Heap *heap, HeapNode *node) noexcept nogil:
    cdef uint32_t place = node.place
    cdef HeapNode *last
    heap.nr -= 1
    last = heap.nodes[heap.nr]
    if last == node:
        return
    if before(last, node):
        rise(heap, last, place)
    else:
        sink(heap, last, place)
