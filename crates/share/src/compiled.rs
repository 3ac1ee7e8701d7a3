//! Loops that the compiler vectorises by itself, once for each instruction set.

/// Defines a function that takes the [`crate::CpuPath`] first and runs the body as compiled for it. The body is the same on every
/// path, so that its results are, too.
macro_rules! compiled {
    (
        $(#[$attribute:meta])*
        $visibility:vis fn $name:ident ( $($argument:ident : $type:ty),* $(,)? ) $body:block
    ) => {
        $(#[$attribute])*
        $visibility fn $name(path: $crate::CpuPath, $($argument: $type),*) {
            #[inline(always)]
            fn body($($argument: $type),*) $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,gfni")]
            fn ifma($($argument: $type),*) {
                body($($argument),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2")]
            fn avx2($($argument: $type),*) {
                body($($argument),*)
            }

            match path.checked() {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: `checked` made sure that this CPU has the instructions.
                $crate::CpuPath::Ifma => unsafe { ifma($($argument),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: `checked` made sure that this CPU has the instructions.
                $crate::CpuPath::Avx2 => unsafe { avx2($($argument),*) },
                _ => body($($argument),*),
            }
        }
    };
}
pub(crate) use compiled;
