/* Is this Unicorn laid out as unicorn_x86.h says?  What is written through its public API is looked for there. */
#include "interpose.h"

static const char *fpu_fault(uc_engine *uc, CPUX86State *env)
{
    uint8_t st7[16] = {1, 2, 3, 4, 5, 6, 7, 0x88, 9, 0x40}, xmm15[16] = "of SSE, sixteen", before[512], found[512];
    uint16_t control = 0x27f, status = 0x4100;
    uint32_t mxcsr = 0x3f80;
    fpu_save(env, before);
    uc_reg_write(uc, UC_X86_REG_FPCW, &control);
    uc_reg_write(uc, UC_X86_REG_FPSW, &status);
    uc_reg_write(uc, UC_X86_REG_MXCSR, &mxcsr);
    uc_reg_write(uc, UC_X86_REG_ST7, st7);
    uc_reg_write(uc, UC_X86_REG_XMM15, xmm15);
    fpu_save(env, found);
    fpu_load(env, before);
    if (memcmp(found, &control, 2) || memcmp(found + 2, &status, 2) || memcmp(found + 24, &mxcsr, 4))
        return "the FPU's control words moved";
    if (memcmp(found + 32 + 16 * 7, st7, 10) || memcmp(found + 160 + 16 * 15, xmm15, 16))
        return "the FPU's registers moved";
    return NULL;
}

const char *layout_fault(uc_engine *uc)
{
    uint64_t value = 0x5e1f7e57c0ffee, cr3 = 0x123000;
    void *cpu = FIELD(uc, UC_CPU, void *);
    CPUX86State *env = FIELD(cpu, CPU_ENV_PTR, CPUX86State *);
    if ((uint8_t *)env != (uint8_t *)cpu + CPU_ENV)
        return "CPUX86State is not inside the processor object";
    if (FIELD(uc, UC_INIT_DONE, uint8_t) != 1 || FIELD(uc, UC_NO_EXIT_REQUEST, uint8_t) != 0)
        return "init_done or no_exit_request moved";
    if (FIELD(uc, UC_NESTED_LEVEL, int32_t) != 0)
        return "nested_level moved";
    uc_reg_write(uc, UC_X86_REG_R15, &value);
    uc_reg_write(uc, UC_X86_REG_CR3, &cr3);
    if (env->regs[15] != value || env->cr[3] != cr3)
        return "registers moved";
    if (FIELD(cpu, CPU_ICOUNT_DECR_PTR, uint8_t *) != (uint8_t *)env + ENV_ICOUNT_DECR)
        return "the exit counter moved";
    if (FIELD(cpu, CPU_UC, uc_engine *) != uc || FIELD(cpu, CPU_OPAQUE, void *) != NULL)
        return "the processor's opaque pointer moved";
    return fpu_fault(uc, env);
}
