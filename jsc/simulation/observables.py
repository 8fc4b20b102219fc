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

import math

import numpy as np
import numpy.typing as npt
from numba import njit

OBSERVABLE_NAMES = (
    "j_zlogz",
    "j_c1_b0_mmdt",
    "j_c1_b1_mmdt",
    "j_c1_b2_mmdt",
    "j_c2_b1_mmdt",
    "j_c2_b2_mmdt",
    "j_d2_b1_mmdt",
    "j_d2_b2_mmdt",
    "j_d2_a1_b1_mmdt",
    "j_d2_a1_b2_mmdt",
    "j_m2_b1_mmdt",
    "j_m2_b2_mmdt",
    "j_n2_b1_mmdt",
    "j_n2_b2_mmdt",
    "j_mass_mmdt",
    "j_multiplicity",
)


def compute_observables(
    p4_K4: npt.NDArray[np.float64], offsets: npt.NDArray[np.int64], is_groomed_K: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """The sixteen observables of every jet, float64 [J, 16].

    `p4_K4` are the constituents' (px, py, pz, E) in GeV, each with p_T > 0; jet j has rows `offsets[j]` to
    `offsets[j + 1]` (int64 [J + 1]). `is_groomed_K` marks the constituents that soft drop has left, at least one a jet.
    """
    out_JO = np.zeros((len(offsets) - 1, len(OBSERVABLE_NAMES)))
    for j in range(len(offsets) - 1):
        jet = slice(offsets[j], offsets[j + 1])
        _jet_observables(p4_K4[jet], p4_K4[jet][is_groomed_K[jet]], out_JO[j])
    return out_JO


# No fastmath: the order of every sum is fixed, and with it every bit of the result.
@njit(cache=True)
def _jet_observables(
    p4_n4: npt.NDArray[np.float64], groomed_n4: npt.NDArray[np.float64], out_O: npt.NDArray[np.float64]
) -> None:
    pt_n = np.sqrt(p4_n4[:, 0] ** 2 + p4_n4[:, 1] ** 2)
    total = pt_n.sum()
    for pt in pt_n:
        out_O[0] += pt / total * math.log(pt / total)
    out_O[15] = len(pt_n)

    n = len(groomed_n4)
    z_n = np.sqrt(groomed_n4[:, 0] ** 2 + groomed_n4[:, 1] ** 2)
    z_n /= z_n.sum()
    phi_n = np.arctan2(groomed_n4[:, 1], groomed_n4[:, 0])
    rapidity_n = np.arctanh(groomed_n4[:, 2] / groomed_n4[:, 3])
    px, py, pz, e = groomed_n4[:, 0].sum(), groomed_n4[:, 1].sum(), groomed_n4[:, 2].sum(), groomed_n4[:, 3].sum()
    out_O[14] = math.sqrt(max(e * e - px * px - py * py - pz * pz, 0.0))

    theta_nn = np.zeros((n, n))
    e2_b0 = e2_b1 = e2_b2 = 0.0
    for i in range(n):
        for j in range(i):
            dphi = abs(phi_n[i] - phi_n[j])
            dphi = min(dphi, 2 * math.pi - dphi)
            dy = rapidity_n[i] - rapidity_n[j]
            theta = math.sqrt(dphi * dphi + dy * dy)
            theta_nn[i, j] = theta
            e2_b0 += z_n[i] * z_n[j]
            e2_b1 += z_n[i] * z_n[j] * theta
            e2_b2 += z_n[i] * z_n[j] * theta * theta
    out_O[1], out_O[2], out_O[3] = e2_b0, e2_b1, e2_b2

    # v1 and v2 stand for 1e3 and 2e3, which no name can.
    e3_b1 = e3_b2 = v1_b1 = v1_b2 = v2_b1 = v2_b2 = 0.0
    for i in range(n):
        for j in range(i):
            theta_ij, z_ij = theta_nn[i, j], z_n[i] * z_n[j]
            for k in range(j):
                theta_ik, theta_jk = theta_nn[i, k], theta_nn[j, k]
                z_ijk = z_ij * z_n[k]
                smallest = min(theta_ij, theta_ik, theta_jk)
                two_smallest = min(theta_ij * theta_ik, theta_ij * theta_jk, theta_ik * theta_jk)
                all_three = theta_ij * theta_ik * theta_jk
                e3_b1 += z_ijk * all_three
                e3_b2 += z_ijk * all_three * all_three
                v1_b1 += z_ijk * smallest
                v1_b2 += z_ijk * smallest * smallest
                v2_b1 += z_ijk * two_smallest
                v2_b2 += z_ijk * two_smallest * two_smallest
    if e2_b2 == 0.0:
        return
    out_O[4], out_O[5] = e3_b1 / e2_b1**2, e3_b2 / e2_b2**2
    out_O[6], out_O[7] = e3_b1 / e2_b1**3, e3_b2 / e2_b2**3
    out_O[8], out_O[9] = e3_b1 / e2_b1**3, e3_b1 / e2_b2**1.5
    out_O[10], out_O[11] = v1_b1 / e2_b1, v1_b2 / e2_b2
    out_O[12], out_O[13] = v2_b1 / e2_b1**2, v2_b2 / e2_b2**2
