# cython: boundscheck=True
# What was saved may be shorter than it should be.
"""A vcpu's registers as a value, and back again."""

from libc.stdint cimport uint8_t
from libc.string cimport memcpy

from xenia.cpu.context cimport (
    STATE_ALL, STATE_CONTROL, STATE_DEBUG, STATE_FPU, STATE_GENERAL, STATE_SEGMENTS, Context, SegmentDescriptor,
)

from xenia.cpu.saved import SavedContext
from xenia.errors import ConfigError


cdef object context_save(Processor *processor):
    cdef Context *context = processor.context
    cdef SegmentDescriptor *segment
    cdef int i
    processor.ops.pull(processor, STATE_ALL)
    segments = []
    for i in range(6):
        segment = &context.segments[i]
        segments.append((context.selectors[i], segment.base, segment.limit, segment.attributes))
    return SavedContext(
        gpr=tuple(context.gpr[i] for i in range(16)), rip=context.rip, rflags=context.rflags,
        cs=context.cs, ss=context.ss, kernel=context.kernel,
        after_ss=context.after_ss, held_back=context.held_back,
        segments=tuple(segments), fpu=bytes((<uint8_t *>context.fpu)[:sizeof(context.fpu)]),
        dr=tuple(context.dr[i] for i in range(8)), cr2=context.cr2, cr4=context.cr4, ts=context.ts,
    )


cdef int context_restore(Processor *processor, object saved) except -1:
    cdef Context *context = processor.context
    cdef SegmentDescriptor *segment
    cdef const uint8_t[::1] fpu = saved.fpu
    cdef int i
    if (len(saved.gpr), len(saved.segments), len(saved.dr), len(fpu)) != (16, 6, 8, sizeof(context.fpu)):
        raise ConfigError("the saved guest is damaged: its registers cannot be")
    processor.ops.pull(processor, STATE_CONTROL)        # the page tables stay
    for i in range(16):
        context.gpr[i] = saved.gpr[i]
    context.rip, context.rflags, context.cs, context.ss = saved.rip, saved.rflags, saved.cs, saved.ss
    context.kernel, context.after_ss, context.held_back = saved.kernel, saved.after_ss, saved.held_back
    for i in range(6):
        segment = &context.segments[i]
        context.selectors[i], segment.base, segment.limit, segment.attributes = saved.segments[i]
    memcpy(context.fpu, &fpu[0], sizeof(context.fpu))
    for i in range(8):
        context.dr[i] = saved.dr[i]
    context.cr2, context.cr4, context.ts = saved.cr2, saved.cr4, saved.ts
    processor.ops.push(processor, STATE_GENERAL | STATE_SEGMENTS | STATE_FPU | STATE_DEBUG | STATE_CONTROL)
    return 0
