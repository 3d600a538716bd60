#include "merkle.h"

#include <string.h>

void plmm_merkle_leaf(plmm_hash *out, const void *p, size_t len)
{
    plmm_hash_bytes(out, "leaf.v1.", p, len);
}

static void join(plmm_hash *out, const plmm_hash *left, const plmm_hash *right)
{
    uint8_t both[64];
    memcpy(both, left->b, 32);
    memcpy(both + 32, right->b, 32);
    plmm_hash_bytes(out, "node.v1.", both, sizeof both);
}

size_t plmm_merkle_nodes(uint32_t n)
{
    size_t all = n;
    for (uint32_t w = n; w > 1;) {
        w = (w + 1) / 2;
        all += w;
    }
    return all;
}

void plmm_merkle_build(plmm_hash *nodes, uint32_t n)
{
    plmm_hash *level = nodes;
    for (uint32_t w = n; w > 1; w = (w + 1) / 2) {
        plmm_hash *up = level + w;
        for (uint32_t i = 0; i + 1 < w; i += 2) {
            join(&up[i / 2], &level[i], &level[i + 1]);
        }
        if (w % 2 == 1) {
            up[w / 2] = level[w - 1];
        }
        level = up;
    }
}

size_t plmm_merkle_proof(plmm_hash *out, const plmm_hash *nodes, uint32_t n, const uint32_t *at,
                         uint32_t count, uint32_t *scratch)
{
    size_t proof = 0;
    memcpy(scratch, at, count * sizeof at[0]);
    for (uint32_t w = n; w > 1; w = (w + 1) / 2) {
        uint32_t up = 0;
        for (uint32_t i = 0; i < count; i++) {
            uint32_t here = scratch[i], sibling = here ^ 1;
            if (i + 1 < count && scratch[i + 1] == sibling) {
                i++; /* both are known */
            } else if (sibling < w) {
                if (out != NULL) {
                    out[proof] = nodes[sibling];
                }
                proof++;
            }
            scratch[up++] = here / 2;
        }
        count = up;
        nodes = nodes == NULL ? NULL : nodes + w;
    }
    return proof;
}

bool plmm_merkle_verify(const plmm_hash *root, uint32_t n, uint32_t *at, plmm_hash *leaves,
                        uint32_t count, const uint8_t *proof, size_t proof_n)
{
    size_t used = 0;
    for (uint32_t w = n; w > 1; w = (w + 1) / 2) {
        uint32_t up = 0;
        for (uint32_t i = 0; i < count; i++) {
            uint32_t here = at[i], sibling = here ^ 1;
            plmm_hash node = leaves[i], other;
            if (i + 1 < count && at[i + 1] == sibling) {
                join(&node, &leaves[i], &leaves[i + 1]);
                i++;
            } else if (sibling < w) {
                if (used == proof_n) {
                    return false;
                }
                memcpy(other.b, proof + 32 * used++, 32);
                join(&node, here < sibling ? &leaves[i] : &other,
                     here < sibling ? &other : &leaves[i]);
            }
            at[up] = here / 2;
            leaves[up++] = node;
        }
        count = up;
    }
    return count == 1 && used == proof_n && plmm_equal(&leaves[0], root, sizeof *root);
}
