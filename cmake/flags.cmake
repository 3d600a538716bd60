# plmm_flags: what every one of our targets is compiled with.
add_library(plmm_flags INTERFACE)
target_compile_definitions(plmm_flags INTERFACE _POSIX_C_SOURCE=200809L)
target_compile_options(plmm_flags INTERFACE
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes
    -Wpointer-arith -Wundef -Wvla -Wswitch-enum
    $<$<C_COMPILER_ID:GNU>:-Wno-format-truncation>  # messages are cut to their buffer on purpose
    -ffp-contract=off            # two builds of one source agree to the bit
    -fno-omit-frame-pointer -fstack-protector-strong)
if(PLMM_SANITIZE)
    target_compile_options(plmm_flags INTERFACE
        -fsanitize=${PLMM_SANITIZE} -fno-sanitize-recover=all -g)
    target_link_options(plmm_flags INTERFACE -fsanitize=${PLMM_SANITIZE})
    target_compile_definitions(plmm_flags INTERFACE PLMM_SANITIZED)
endif()
if(PLMM_FUZZ)
    target_compile_options(plmm_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
