vectorised! {
    fn exps<V>(x: &[f32], y: &mut [f32]) {
        assert_eq!(x.len(), y.len());
        // SAFETY: both slices hold x.len() floats.
        unsafe { map!(V, x.len(), [v: x.as_ptr()] => [y.as_mut_ptr()], [v.exp()]) }
    }
}

#[test]
fn exp_is_accurate_and_keeps_special_values() {
    let mut x: Vec<f32> = (-8700..8860).map(|i| i as f32 * 0.01).collect();
    x.extend([f32::NEG_INFINITY, -200.0, 89.0, f32::INFINITY, f32::NAN]);
    let mut y = vec![0.0; x.len()];
    exps(&x, &mut y);
    for (x, y) in x.iter().zip(&y) {
        let exact = f64::from(*x).exp();
        if x.is_nan() {
            assert!(y.is_nan());
        } else if *x < -86.9 {
            assert_eq!(*y, 0.0);
        } else if *x > 88.72 {
            assert_eq!(*y, f32::INFINITY);
        } else {
            assert!((f64::from(*y) - exact).abs() <= 3e-7 * exact, "{x}: {y} {exact}");
        }
    }
}
