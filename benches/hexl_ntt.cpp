// The forward transform by Intel HEXL, for `ckks_ops.py --task ntt --hexl PATH`. HEXL is not shipped; build it from
// its own sources, as its README says, and then
//
//     g++ -O2 -I HEXL/hexl/include benches/hexl_ntt.cpp -o hexl_ntt HEXL/build/hexl/lib/libhexl.so -Wl,-rpath,...
//
// hexl_ntt LOG_N Q PSI REPEATS prints the seconds of one transform in place, the fastest of REPEATS, and a checksum of
// the first: the sum of (2i + 1)·out[i] modulo 2^64 for the row in[i] = (i·0x9e3779b97f4a7c15 mod 2^64) mod q.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "hexl/hexl.hpp"

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fprintf(stderr, "usage: hexl_ntt LOG_N Q PSI REPEATS\n");
    return 2;
  }
  const uint64_t n = uint64_t{1} << std::atoi(argv[1]);
  const uint64_t q = std::strtoull(argv[2], nullptr, 10);
  const uint64_t psi = std::strtoull(argv[3], nullptr, 10);
  const int repeats = std::atoi(argv[4]);
  intel::hexl::NTT ntt(n, q, psi);
  auto* row = static_cast<uint64_t*>(std::aligned_alloc(64, 8 * n));
  for (uint64_t i = 0; i < n; ++i) row[i] = i * 0x9e3779b97f4a7c15u % q;
  ntt.ComputeForward(row, row, 1, 1);
  uint64_t checksum = 0;
  for (uint64_t i = 0; i < n; ++i) checksum += (2 * i + 1) * row[i];
  double best = 1e9;
  for (int i = 0; i < repeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    ntt.ComputeForward(row, row, 1, 1);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    best = std::min(best, took.count());
  }
  std::printf("%.9f %llu\n", best, static_cast<unsigned long long>(checksum));
  std::free(row);
  return 0;
}
