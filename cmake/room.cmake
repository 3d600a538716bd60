# plmm_room(NAME SOURCES a.c ... [PUBLIC t ...] [PRIVATE t ...])
#
# Static library plmm_NAME from ./src, public headers in ./include. What is listed neither in PUBLIC
# nor in PRIVATE cannot be included: this is how the build keeps a room to what it may know.
function(plmm_room name)
    cmake_parse_arguments(R "" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
    list(TRANSFORM R_SOURCES PREPEND src/)
    add_library(plmm_${name} STATIC ${R_SOURCES})
    target_include_directories(plmm_${name} PUBLIC include PRIVATE src)
    target_link_libraries(plmm_${name} PUBLIC ${R_PUBLIC} PRIVATE ${R_PRIVATE} plmm_flags)
endfunction()

# plmm_test(LABEL NAME [TIMEOUT s] libs...): one process per file tests/LABEL/NAME.c, found by
# `ctest -L LABEL`, killed after TIMEOUT (60 s by default).
function(plmm_test label name)
    cmake_parse_arguments(T "" "TIMEOUT" "" ${ARGN})
    if(NOT T_TIMEOUT)
        set(T_TIMEOUT 60)
    endif()
    if(PLMM_SANITIZE) # ten times slower, and on a machine that others may use
        math(EXPR T_TIMEOUT "4 * ${T_TIMEOUT}")
    endif()
    add_executable(${name} ${label}/${name}.c)
    target_include_directories(${name} PRIVATE support)
    target_link_libraries(${name} PRIVATE ${T_UNPARSED_ARGUMENTS} plmm_flags)
    add_test(NAME ${label}.${name} COMMAND ${name} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
    set_tests_properties(${label}.${name} PROPERTIES LABELS ${label} TIMEOUT ${T_TIMEOUT})
endfunction()

# plmm_fuzz(NAME libs...): libFuzzer target tests/fuzz/NAME.c (preset fuzz only), started from the
# corpus tests/fuzz/corpus/NAME. ctest gives it a few seconds; `runtests --long` gives it minutes.
function(plmm_fuzz name)
    if(NOT PLMM_FUZZ)
        return()
    endif()
    add_executable(${name} fuzz/${name}.c)
    target_include_directories(${name} PRIVATE support)
    target_link_libraries(${name} PRIVATE ${ARGN} plmm_flags)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    add_test(NAME fuzz.${name} COMMAND ${name} -max_total_time=10 -max_len=65536 -timeout=10
        ${CMAKE_CURRENT_BINARY_DIR}/${name}.corpus ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/corpus/${name})
    file(MAKE_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/${name}.corpus
         ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/corpus/${name})
    set_tests_properties(fuzz.${name} PROPERTIES LABELS fuzz TIMEOUT 120)
endfunction()
