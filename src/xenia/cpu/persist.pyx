"""A vcpu's registers as a value, and back again."""

from libc.stdint cimport uint16_t, uint64_t

from xenia.cpu.context cimport (
    CONTEXT_FLAGS, CONTEXT_SEGMENTS, SREG_CS, SREG_FS, SREG_GS, SREG_SS, Context, SegmentDescriptor,
)

from xenia.cpu.saved import SavedContext


cdef object context_save(Processor *processor):
    cdef Context *context = processor.context
    cdef uint16_t selector
    cdef uint64_t base
    cdef int i
    segments = []
    for i in range(6):
        processor.ops.get_segment(processor, i, &selector, &base)
        segments.append((selector, base, 0xffffffff if selector > 3 else 0, 0xcff300 if selector > 3 else 0))
    return SavedContext(
        gpr=tuple(context.gpr[i] for i in range(16)), rip=context.rip, rflags=context.rflags,
        cs=context.cs, ss=context.ss, kernel=context.kernel, after_ss=False, held_back=0, segments=tuple(segments),
        fpu=bytes(512), dr=(0,) * 8, cr2=0, cr4=0, ts=False,
    )


cdef int context_restore(Processor *processor, object saved) except -1:
    cdef Context *context = processor.context
    cdef SegmentDescriptor descriptor
    cdef int i
    for i in range(16):
        context.gpr[i] = saved.gpr[i]
    context.rip, context.rflags, context.cs, context.ss = saved.rip, saved.rflags, saved.cs, saved.ss
    context.kernel = saved.kernel
    context.dirty = CONTEXT_FLAGS | CONTEXT_SEGMENTS
    for i in range(6):
        selector, base, descriptor.limit, descriptor.attributes = saved.segments[i]
        descriptor.base = base
        if i != SREG_CS and i != SREG_SS:
            processor.ops.set_segment(processor, i, selector, &descriptor)
        if i == SREG_FS or i == SREG_GS:
            processor.ops.set_segment_base(processor, i, base)
    return 0
