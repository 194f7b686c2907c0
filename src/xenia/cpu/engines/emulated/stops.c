/*
 * Where translated code looks whether it should stop.
 *
 * Unicorn calls a C helper at the start of every block.  QEMU's own way is two instructions there, a load and a branch.
 * Even these are not needed at most blocks.  Code that never stops comes back to where it was.  On the way it takes a
 * jump that is looked up (and the look-up looks, see jumps.c), or ends in the loop that runs blocks, which looks too;
 * or else all its jumps are patched ones, and one of them at least leads to its own block's address or to a lower one.
 * So only blocks with such a jump look.  What that costs and brings is in docs/performance.md.
 *
 *   tcg_gen_callN     the call of the helper, which is the first thing that a block does, becomes the two instructions
 *   tcg_gen_exit_tb   the jumps that a block ends with, and last the exit that the branch leads to.  By then it is known
 *                     whether the block needs them.
 *
 * The loop that runs blocks takes the counter of a request that it has obeyed back, and looks whether there is a new
 * one; without a barrier between the two, so a request that comes just then may lose its counter and not be seen.
 *
 *   tb_exec_lock      comes after that and before each entry of translated code: there it is looked for once more
 */
#include "interpose.h"

#define INDEX_OP_SET_LABEL 1
#define INDEX_OP_LD_I32 13
#define TCG_COND_LT 2

extern void helper_check_exit_request_x86_64(void *uc, uint32_t in_delay_slot);
extern void __real_tcg_gen_callN_x86_64(TcgContext *tcg, void *function, TcgTemp *result, int count, TcgTemp **args);
extern void __real_tcg_gen_exit_tb_x86_64(TcgContext *tcg, const void *tb, unsigned index);
extern TcgTemp *tcg_temp_new_internal_x86_64(TcgContext *tcg, int type, bool local);
extern void tcg_temp_free_internal_x86_64(TcgContext *tcg, TcgTemp *temp);
extern void *gen_new_label_x86_64(TcgContext *tcg);
extern void tcg_gen_op1_x86_64(TcgContext *tcg, int opcode, TcgArg a);
extern void tcg_gen_op3_x86_64(TcgContext *tcg, int opcode, TcgArg a, TcgArg b, TcgArg c);
extern void tcg_gen_brcondi_i32_x86_64(TcgContext *tcg, int condition, void *arg1, int32_t arg2, void *label);
extern void tcg_op_remove_x86_64(TcgContext *tcg, TcgOp *op);

void __wrap_tb_exec_lock_x86_64(uc_engine *uc)
{
    void *cpu = FIELD(uc, UC_CPU, void *);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (FIELD(cpu, CPU_EXIT_REQUEST, uint8_t))
        STOP_TRANSLATED(cpu);
}

/* Of the block being translated. */
static __thread TranslatedBlock *translated;
static __thread uint32_t *label;
static __thread TcgOp *last; /* of the two instructions */
static __thread unsigned count;
static __thread bool needed;

void stops_translate(TranslatedBlock *block)
{
    translated = block;
    label = NULL;
    needed = false;
}

void stops_jump(uint64_t target) { needed |= target <= translated->pc; }

void __wrap_tcg_gen_callN_x86_64(TcgContext *tcg, void *function, TcgTemp *result, int nr_args, TcgTemp **args)
{
    if (function != (void *)helper_check_exit_request_x86_64) {
        __real_tcg_gen_callN_x86_64(tcg, function, result, nr_args, args);
        return;
    }
    unsigned before = FIELD(tcg, TCG_CONTEXT_NR_OPS, int);
    TcgTemp *value = tcg_temp_new_internal_x86_64(tcg, TCG_TYPE_I32, false);
    label = gen_new_label_x86_64(tcg);
    tcg_gen_op3_x86_64(tcg, INDEX_OP_LD_I32, (TcgArg)value, (TcgArg)TCG_CPU_ENV(tcg), (TcgArg)ENV_ICOUNT_DECR);
    tcg_gen_brcondi_i32_x86_64(tcg, TCG_COND_LT, (void *)((uintptr_t)value - (uintptr_t)tcg), 0, label);
    tcg_temp_free_internal_x86_64(tcg, value);
    last = tcg_last_op(tcg);
    count = FIELD(tcg, TCG_CONTEXT_NR_OPS, int) - before;
}

void __wrap_tcg_gen_exit_tb_x86_64(TcgContext *tcg, const void *block, unsigned index)
{
    if (block == NULL || index != TB_EXIT_REQUESTED) {
        if (block != NULL && links_exit(tcg, &block, &index))
            return;
    } else if (label != NULL && needed) {
        *label |= 1; /* TCGLabel.present */
        tcg_gen_op1_x86_64(tcg, INDEX_OP_SET_LABEL, (TcgArg)label);
    } else if (label != NULL) {
        while (count--) {
            TcgOp *op = last;
            last = tcg_op_before(op);
            tcg_op_remove_x86_64(tcg, op);
        }
        return;
    }
    __real_tcg_gen_exit_tb_x86_64(tcg, block, index);
}
