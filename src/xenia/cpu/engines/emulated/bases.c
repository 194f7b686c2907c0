/*
 * wrfsbase and wrgsbase of an address that is not canonical: a #GP, which QEMU leaves out.
 *
 * The translation of such an instruction begins with a call that looks at the register.
 *
 *   helper_vmsave     what the call goes to: the name of a helper that QEMU knows and that no guest can reach, because
 *                     no processor here has SVM
 */
#include "interpose.h"

#define CR4_FSGSBASE (1u << 16)
#define VECTOR_GP 13

extern void helper_vmsave_x86_64(CPUX86State *env, int reg);
extern uint32_t cpu_ldub_code_x86_64(CPUX86State *env, uint64_t va);
extern void tcg_gen_callN_x86_64(TcgContext *tcg, void *function, TcgTemp *result, int count, TcgTemp **args);
extern uintptr_t tcg_const_i32_x86_64(TcgContext *tcg, int32_t value);
extern void tcg_temp_free_internal_x86_64(TcgContext *tcg, TcgTemp *temp);

void __wrap_helper_vmsave_x86_64(CPUX86State *env, int reg)
{
    int64_t sign = (int64_t)env->regs[reg] >> 47;
    if (sign == 0 || sign == -1 || !(env->cr[4] & CR4_FSGSBASE))
        return;
    env->old_exception = -1;
    raise_exception_err_ra_x86_64(env, VECTOR_GP, 0, (uintptr_t)__builtin_return_address(0));
}

static bool is_prefix(uint8_t byte)
{
    return (byte & 0xe7) == 0x26 || (byte >= 0x64 && byte <= 0x67) || byte == 0xf2 || byte == 0xf3;
}

/* The register that the instruction at `pc` writes to a base, all of it; -1 for any other instruction. */
static int source_at(CPUX86State *env, uint64_t pc)
{
    bool repeated = false;
    uint8_t byte, rex;
    for (int i = 0; is_prefix(byte = cpu_ldub_code_x86_64(env, pc)) && i < 14; i++, pc++)
        repeated |= byte == 0xf3;
    if (!repeated || (byte & 0xf8) != 0x48)
        return -1;
    rex = byte;
    if (cpu_ldub_code_x86_64(env, pc + 1) != 0x0f || cpu_ldub_code_x86_64(env, pc + 2) != 0xae)
        return -1;
    byte = cpu_ldub_code_x86_64(env, pc + 3);
    return (byte & 0xf0) == 0xd0 ? (byte & 7) | (rex & 1) << 3 : -1;
}

void bases_translate(CPUX86State *env, TcgContext *tcg, uint64_t pc)
{
    int reg = source_at(env, pc);
    if (reg < 0)
        return;
    TcgTemp *argument = (uint8_t *)tcg + tcg_const_i32_x86_64(tcg, reg);
    tcg_gen_callN_x86_64(tcg, helper_vmsave_x86_64, NULL, 2, (TcgTemp *[]){TCG_CPU_ENV(tcg), argument});
    tcg_temp_free_internal_x86_64(tcg, argument);
}
