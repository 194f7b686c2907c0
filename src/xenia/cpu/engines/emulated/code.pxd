# What a processor translated and is to forget, and what it asks others for that run over the same memory: see code.c.
#
# All inline, as registers.pxd is.
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from xenia.cpu.engines.emulated.emulator cimport Emulator
from xenia.cpu.engines.emulated.unicorn cimport (
    Interposed, code_watch, code_watch_all, interposed_enter, tb_invalidate_phys_range_x86_64,
)
from xenia.cpu.processor cimport (
    ASK_FORGET_CODE, ASK_WATCH_CODE, EVERY_FRAME, Processor, full_barrier, processor_begin_alone, processor_end_alone,
    processor_enter, processor_leave, processor_obey, processor_others, processors_ask,
)
from xenia.machine.atomic cimport flag_read, flag_take
from xenia.machine.lock cimport RANK_ANNOUNCING, lock, lock_init, unlock
from xenia.machine.paging cimport PAGE_SIZE

cdef extern from *:
    """
    static inline uint8_t bits_or(uint8_t *bits, uint8_t bit) { return __atomic_fetch_or(bits, bit, __ATOMIC_SEQ_CST); }
    """
    uint8_t bits_or(uint8_t *bits, uint8_t bit) noexcept nogil


# --- code


cdef inline void op_code_dirty(Processor *processor, uint64_t maddr, uint64_t length) noexcept nogil:
    cdef Emulator *engine = <Emulator *>processor
    cdef uint64_t first = maddr >> 12, last = (maddr + length - 1) >> 12
    cdef uint8_t *code = engine.interposed.code_frames
    cdef Interposed *before
    if length == 0:
        forget_all_code(engine)
    elif length == PAGE_SIZE:
        forget_code_in(engine, first)
    elif (code[first >> 3] >> (first & 7) | code[last >> 3] >> (last & 7)) & 1 or last > first + 1:
        before = interposed_enter(&engine.interposed)
        tb_invalidate_phys_range_x86_64(engine.uc, maddr, maddr + length)
        interposed_enter(before)
        if engine.interposed.on_forgotten != NULL:
            for first in range(first, last + 1):
                engine.interposed.on_forgotten(engine, first)


cdef inline void forget_all_code(Emulator *engine) noexcept nogil:
    cdef uint64_t eight, mfn
    for eight in range((engine.interposed.machine_bytes >> 15) + 1):
        if engine.interposed.code_frames[eight]:
            for mfn in range(eight << 3, (eight + 1) << 3):
                forget_code_in(engine, mfn)


cdef inline void forget_code_in(Emulator *engine, uint64_t mfn) noexcept nogil:
    cdef uint8_t bit = 1 << (mfn & 7)
    cdef Interposed *before
    if engine.interposed.code_frames[mfn >> 3] & bit:
        before = interposed_enter(&engine.interposed)
        tb_invalidate_phys_range_x86_64(engine.uc, mfn << 12, (mfn + 1) << 12)
        interposed_enter(before)
        engine.interposed.code_frames[mfn >> 3] &= ~bit
        if engine.interposed.on_forgotten != NULL:
            engine.interposed.on_forgotten(engine, mfn)


cdef inline void op_watch_code(Processor *processor, uint64_t mfn) noexcept nogil:
    cdef Emulator *engine = <Emulator *>processor
    if mfn == EVERY_FRAME:
        code_watch_all(&engine.interposed, engine.cpu)
    else:
        code_watch(engine.cpu, mfn << 12)


# --- several processors


cdef inline void on_code_written(void *opaque, uint64_t maddr) noexcept nogil:
    # Here it was seen to.
    cdef Processor *processor = &(<Emulator *>opaque).processor
    cdef Processor *other
    cdef uint32_t i
    if processor.shared:
        for i in range(processor.nr_siblings[0]):
            other = processor.siblings[i]
            if other != processor and other.ops.frame_lent != NULL:
                other.ops.frame_lent(other, maddr >> 12)
        processors_ask(processor.siblings, processor.nr_siblings[0], processor_others(processor), ASK_FORGET_CODE,
                       maddr & ~<uint64_t>0xfff, PAGE_SIZE)


cdef inline void announce_code(Emulator *engine, const uint64_t *mfns, uint32_t nr) noexcept nogil:
    # Frames that it is about to take code from: all watch them when this returns.  See code.c.
    cdef Processor *processor = &engine.processor
    cdef Emulator *first = <Emulator *>processor.siblings[0]
    cdef uint32_t i
    cdef uint8_t bit
    processor_leave(processor)
    lock(&first.announcing)
    for i in range(nr):
        bit = 1 << (mfns[i] & 7)
        engine.interposed.code_frames[mfns[i] >> 3] |= bit
        full_barrier()
        if not bits_or(&engine.interposed.watched[mfns[i] >> 3], bit) & bit:
            processors_ask(processor.siblings, processor.nr_siblings[0], processor_others(processor), ASK_WATCH_CODE,
                           mfns[i], 0)
    unlock(&first.announcing)
    processor_enter(processor)


cdef inline bint is_announced(const Emulator *engine, uint64_t mfn) noexcept nogil:
    return (engine.interposed.code_frames[mfn >> 3] & flag_read(&engine.interposed.watched[mfn >> 3])) >> (mfn & 7) & 1


cdef inline bint is_being_stored_to(const Emulator *engine, uint64_t mfn) noexcept nogil:
    # By one of the others, just now.
    cdef const Processor *processor = &engine.processor
    cdef const Emulator *other
    cdef uint32_t i
    for i in range(processor.nr_siblings[0]):
        other = <const Emulator *>processor.siblings[i]
        if other != engine and (other.interposed.storing[0] == mfn + 1 or other.interposed.storing[1] == mfn + 1):
            return True
    return False


cdef inline void alone(void *opaque, bint begin) noexcept nogil:
    cdef Processor *processor = &(<Emulator *>opaque).processor
    if processor.shared and begin:
        processor_begin_alone(processor)
    elif processor.shared:
        processor_end_alone(processor)


cdef inline void share(Emulator *engine) noexcept nogil:
    lock_init(&engine.announcing, RANK_ANNOUNCING)
    engine.interposed.on_code_written = on_code_written
    engine.interposed.alone = alone
    engine.interposed.watched = (<Emulator *>engine.processor.siblings[0]).watched
    engine.interposed.shared = True


cdef inline bint is_kicked(Processor *processor) noexcept nogil:
    # Or was it only told to look?  The barrier is between the stop request that was taken back and what it was for.
    cdef uint64_t mfn
    full_barrier()
    if (<Emulator *>processor).interposed.unannounced:
        mfn = (<Emulator *>processor).interposed.unannounced - 1
        (<Emulator *>processor).interposed.unannounced = 0
        announce_code(<Emulator *>processor, &mfn, 1)
    if processor.mailbox.posted != processor.mailbox.applied:
        processor_obey(processor)
    return flag_take(&processor.kicked)
