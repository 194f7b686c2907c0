# Where the emulated engine asks what runs user code beside it, if anything does (emulator.pxd).
from xenia.cpu.engines.emulated.emulator cimport Emulator
from xenia.cpu.engines.emulated.registers cimport pull, push
from xenia.cpu.processor cimport LEAVE, Exit


cdef inline int answer(Emulator *engine, Exit *exit) noexcept nogil:
    if engine.beside.on_exit != NULL:
        return engine.beside.on_exit(engine, exit)
    return engine.processor.on_exit(engine.processor.vcpu, exit)


cdef inline bint goes_elsewhere(Emulator *engine) noexcept nogil:
    # In user mode something else may run it first: for a while, or until it leaves.
    if engine.beside.enters == NULL or engine.env.hflags & 3 != 3 or engine.deferred or engine.resuming:
        return False
    if engine.processor.stepping:
        return False
    pull(engine)
    engine.left = engine.beside.enters(engine) == LEAVE
    push(engine)
    return engine.left
