"""The arithmetic of the observables of one jet, compiled. Shapes: n constituents, O = 16 observables."""

import math

import numpy as np
import numpy.typing as npt
from numba import njit


# No fastmath: the order of every sum is fixed, and with it every bit of the result.
@njit(cache=True)
def jet_observables(
    p4_n4: npt.NDArray[np.float64], groomed_n4: npt.NDArray[np.float64], out_O: npt.NDArray[np.float64]
) -> None:
    """Add one jet's observables, as `observables.py` defines them, to zeros `out_O` [16].

    `p4_n4` are the (px, py, pz, E) of its constituents in GeV, `groomed_n4` those that soft drop has left.
    """
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
