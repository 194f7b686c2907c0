# Where a processor stops for a debugger: a step, and what debug.c says of breakpoints and watchpoints.
#
# A step is one instruction with the trap flag, and where a breakpoint of the debugger's is with the resume flag, of
# which the guest does not learn (registers.pxd, `step`).  Where that instruction is an exit, the step is done once the
# core has answered it and the vcpu is somewhere else; if it is not, for a page was missing that is there now, it is
# tried again.
#
# All inline, as registers.pxd is.
from libc.stdint cimport uint32_t, uint64_t
from xenia.cpu.context cimport EFLAGS_RF
from xenia.cpu.engines.emulated.emulator cimport Emulator
from xenia.cpu.engines.emulated.registers cimport pull, step
from xenia.cpu.engines.emulated.unicorn cimport (
    WATCHED_BY_DEBUGGER, Interposed, debug_moved_flags, debug_moves_flags, debug_set_stops, debug_stops_at,
    interposed_enter,
)
from xenia.cpu.processor cimport (
    EXIT_DEBUG, LEAVE, STEPPING_BEGUN, STEPPING_NOT, STEPPING_WANTED, STOP_STEPPED, STOP_WATCHPOINT, Exit, Processor,
    Stop,
)


cdef inline void op_set_stops(Processor *processor, const Stop *stops, unsigned nr) noexcept nogil:
    cdef Emulator *engine = <Emulator *>processor
    cdef Interposed *before = interposed_enter(&engine.interposed)
    debug_set_stops(&engine.interposed, engine.cpu, stops, nr)
    interposed_enter(before)


# The core is told, with the context's first part there.  Whether it leaves.
cdef inline bint debug_exit(Emulator *engine, int why, uint64_t address) noexcept nogil:
    cdef Exit exit
    engine.processor.stepping = STEPPING_NOT
    exit.kind = EXIT_DEBUG
    exit.vector = why
    exit.error = 0
    exit.address = address
    return engine.processor.on_exit(engine.processor.vcpu, &exit) == LEAVE


# Before a vcpu that steps goes on.
cdef inline void step_arm(Emulator *engine) noexcept nogil:
    if engine.processor.stepping == STEPPING_WANTED:
        engine.processor.stepping = STEPPING_BEGUN
        engine.step_from = engine.env.eip
    engine.moves_flags = debug_moves_flags(&engine.interposed, engine.env)
    step(engine)
    if not engine.env.eflags & EFLAGS_RF and debug_stops_at(&engine.interposed, engine.env.eip):
        engine.env.eflags |= EFLAGS_RF
        engine.hidden |= EFLAGS_RF


# Is the step done that began before this exit?  Else it goes on.
cdef inline bint step_is_done(Emulator *engine) noexcept nogil:
    if engine.processor.stepping == STEPPING_BEGUN and engine.env.eip != engine.step_from:
        return True
    step_arm(engine)
    return False


# At the trap of a step, with the flags that were hidden.
cdef inline void step_moved_flags(Emulator *engine, uint64_t hidden) noexcept nogil:
    if engine.moves_flags:
        debug_moved_flags(&engine.interposed, engine.env, engine.moves_flags, hidden)


# And with the watchpoints that it touched.
cdef inline bint step_trapped(Emulator *engine, uint32_t hits) noexcept nogil:
    pull(engine)
    if hits & WATCHED_BY_DEBUGGER:
        return debug_exit(engine, STOP_WATCHPOINT, engine.interposed.stops.touched)
    return debug_exit(engine, STOP_STEPPED, 0)
