//! Which instruction set the kernels use.

use std::fmt;

/// An implementation of the kernels. Ordered from slowest to fastest. The names are those of the ring's kernels, so that
/// one setting chooses both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CpuPath {
    /// 64-bit integer arithmetic; runs everywhere.
    Portable,
    /// AVX2: products of 32-bit halves.
    Avx2,
    /// AVX-512 F, BW, DQ, VL, IFMA and VBMI, with GFNI and VAES: Ice Lake, Zen 4 and what came after.
    Ifma,
}

impl CpuPath {
    const ALL: [Self; 3] = [Self::Portable, Self::Avx2, Self::Ifma];

    /// The fastest path that this CPU can run.
    pub fn detect() -> Self {
        Self::all_available().pop().unwrap_or(Self::Portable)
    }

    /// Whether this CPU (and operating system) can run the path.
    pub fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => std::is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "x86_64")]
            Self::Ifma => {
                std::is_x86_feature_detected!("avx512f")
                    && std::is_x86_feature_detected!("avx512bw")
                    && std::is_x86_feature_detected!("avx512dq")
                    && std::is_x86_feature_detected!("avx512vl")
                    && std::is_x86_feature_detected!("avx512ifma")
                    && std::is_x86_feature_detected!("avx512vbmi")
                    && std::is_x86_feature_detected!("gfni")
                    && std::is_x86_feature_detected!("aes")
                    && std::is_x86_feature_detected!("vaes")
            }
            #[cfg(not(target_arch = "x86_64"))]
            _ => false,
        }
    }

    /// Every path that this CPU can run, slowest first.
    pub fn all_available() -> Vec<Self> {
        Self::ALL
            .into_iter()
            .filter(|path| path.is_available())
            .collect()
    }

    /// The path called `portable`, `avx2` or `ifma`; `None` for any other name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|path| path.name() == name)
    }

    /// The name that [`CpuPath::from_name`] understands.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Ifma => "ifma",
        }
    }

    /// The path itself, after making sure that this CPU can run it.
    ///
    /// # Panics
    /// When the CPU cannot. Every kernel passes here before it enters code made for an instruction set, which is what
    /// makes that call sound.
    #[inline]
    pub(crate) fn checked(self) -> Self {
        assert!(
            self == Self::Portable || self.is_available(),
            "this CPU cannot run the `{self}` path"
        );
        self
    }
}

impl fmt::Display for CpuPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
