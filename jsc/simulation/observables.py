"""The sixteen observables of a jet, in the order of `OBSERVABLE_NAMES`, each with its published formula.

Shapes: J jets, K constituents of all jets side by side, n constituents of one jet, O = 16 observables.

j_zlogz and j_multiplicity are of all constituents, the others (`_mmdt`) of those that soft drop has left. With p_T the
transverse momentum to the beam, y the rapidity, phi the azimuth,

    z_i = p_T,i / sum_k p_T,k          theta_ij^2 = (y_i - y_j)^2 + (phi_i - phi_j)^2

and the energy correlation functions with angular exponent beta (b0, b1, b2: beta = 0, 1, 2)

    e2  = sum_{i<j}   z_i z_j     theta_ij^beta                                                              [1], [2]
    e3  = sum_{i<j<k} z_i z_j z_k (theta_ij theta_ik theta_jk)^beta                                          [1], [2]
    1e3 = sum_{i<j<k} z_i z_j z_k theta_(1)^beta                                                                  [3]
    2e3 = sum_{i<j<k} z_i z_j z_k (theta_(1) theta_(2))^beta                                                      [3]

where theta_(1) <= theta_(2) <= theta_(3) are the three pairwise angles in order, the observables are

    j_zlogz          sum_i z_i ln z_i                                                                              [4]
    j_c1_b0_mmdt     C1(beta=0) = e2                                                                               [1]
    j_c1_b1_mmdt     C1(beta=1) = e2                                                                               [1]
    j_c1_b2_mmdt     C1(beta=2) = e2                                                                               [1]
    j_c2_b1_mmdt     C2(beta=1) = e3 / e2^2                                                                        [1]
    j_c2_b2_mmdt     C2(beta=2) = e3 / e2^2                                                                        [1]
    j_d2_b1_mmdt     D2(beta=1) = e3 / e2^3                                                                        [2]
    j_d2_b2_mmdt     D2(beta=2) = e3 / e2^3                                                                        [2]
    j_d2_a1_b1_mmdt  D2(alpha=1, beta=1) = e3(alpha) / e2(beta)^(3 alpha/beta), so equal to j_d2_b1_mmdt           [6]
    j_d2_a1_b2_mmdt  D2(alpha=1, beta=2) = e3(alpha) / e2(beta)^(3 alpha/beta)                                     [6]
    j_m2_b1_mmdt     M2(beta=1) = 1e3 / e2                                                                         [3]
    j_m2_b2_mmdt     M2(beta=2) = 1e3 / e2                                                                         [3]
    j_n2_b1_mmdt     N2(beta=1) = 2e3 / e2^2                                                                       [3]
    j_n2_b2_mmdt     N2(beta=2) = 2e3 / e2^2                                                                       [3]
    j_mass_mmdt      sqrt((sum E)^2 - |sum p|^2), GeV                                                              [5]
    j_multiplicity   number of constituents                                                                        [4]

A ratio of a groomed jet without angular spread (e2 = 0: one constituent, or all in one direction) is 0.

[1] Larkoski, Salam, Thaler, JHEP 06 (2013) 108, arXiv:1305.0007.
[2] Larkoski, Moult, Neill, JHEP 12 (2014) 009, arXiv:1409.6298.
[3] Moult, Necib, Thaler, JHEP 12 (2016) 153, arXiv:1609.07483.
[4] Coleman et al., JINST 13 (2018) T01003, arXiv:1709.08705, which chose the sixteen; used by Duarte et al., JINST 13
    (2018) P07027, arXiv:1804.06913.
[5] Dasgupta, Fregoso, Marzani, Salam, JHEP 09 (2013) 029, arXiv:1307.0007 (mMDT); Larkoski, Marzani, Soyez, Thaler,
    JHEP 05 (2014) 146, arXiv:1402.2657 (soft drop).
[6] Larkoski, Moult, Neill, JHEP 05 (2016) 117, arXiv:1507.03018.
"""

import numpy as np
import numpy.typing as npt

OBSERVABLE_NAMES = (
    *("j_zlogz", "j_c1_b0_mmdt", "j_c1_b1_mmdt", "j_c1_b2_mmdt", "j_c2_b1_mmdt", "j_c2_b2_mmdt"),
    *("j_d2_b1_mmdt", "j_d2_b2_mmdt", "j_d2_a1_b1_mmdt", "j_d2_a1_b2_mmdt", "j_m2_b1_mmdt", "j_m2_b2_mmdt"),
    *("j_n2_b1_mmdt", "j_n2_b2_mmdt", "j_mass_mmdt", "j_multiplicity"),
)


def compute_observables(
    p4_K4: npt.NDArray[np.float64], offsets: npt.NDArray[np.int64], is_groomed_K: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """The sixteen observables of every jet, float64 [J, 16].

    `p4_K4` are the constituents' (px, py, pz, E) in GeV, each with p_T > 0; jet j has rows `offsets[j]` to
    `offsets[j + 1]` (int64 [J + 1]). `is_groomed_K` marks the constituents that soft drop has left, at least one a jet.
    """
    from jsc.simulation.observable_kernel import jet_observables  # here: whoever needs the names alone needs no Numba

    out_JO = np.zeros((len(offsets) - 1, len(OBSERVABLE_NAMES)))
    for j in range(len(offsets) - 1):
        jet = slice(offsets[j], offsets[j + 1])
        jet_observables(p4_K4[jet], p4_K4[jet][is_groomed_K[jet]], out_JO[j])
    return out_JO
