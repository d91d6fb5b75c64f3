# The crate has llama.cpp's helpers for command lines built as well, which are minutes of work and
# which nothing here calls. CMAKE_PROJECT_INCLUDE names this file.
if(PROJECT_NAME STREQUAL "llama.cpp")
  set(LLAMA_BUILD_COMMON OFF CACHE BOOL "" FORCE)
endif()
