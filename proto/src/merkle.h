/* merkle.h -- a hash tree over the entries of a roster, and one proof for several of them. Pure.
 *
 * Level 0 are the leaves; a node is the hash of its two children; the last node of a level of odd
 * width has no sibling and goes up as it is. Leaves and nodes are hashed under labels of their own,
 * and the number of leaves is fixed by whoever signs the root: no two rosters have one root. */
#ifndef PLMM_PROTO_MERKLE_H
#define PLMM_PROTO_MERKLE_H

#include "plmm/keys.h"

void plmm_merkle_leaf(plmm_hash *out, const void *p, size_t len);

/* Nodes of a tree of n leaves, level by level from the leaves; the root is the last. n >= 1. */
size_t plmm_merkle_nodes(uint32_t n);

/* From nodes[0..n), the leaves, all others. */
void plmm_merkle_build(plmm_hash *nodes, uint32_t n);

/* The proof for the leaves at[0..count), increasing, in one order that both sides know: level by
 * level, from left to right, each sibling of a known node that is not known itself. Returns the
 * number of hashes; out may be NULL (then they are only counted), nodes too. scratch has room for
 * count numbers. */
size_t plmm_merkle_proof(plmm_hash *out, const plmm_hash *nodes, uint32_t n, const uint32_t *at,
                         uint32_t count, uint32_t *scratch);

/* True if leaves[0..count) (overwritten) at at[0..count) (overwritten) and the proof give the root,
 * all of the proof being used. */
bool plmm_merkle_verify(const plmm_hash *root, uint32_t n, uint32_t *at, plmm_hash *leaves,
                        uint32_t count, const uint8_t *proof, size_t proof_n);

#endif
