// The theme, before anything is drawn.
try {
  const theme = localStorage.getItem('rollcall-theme');
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
} catch {
  // Storage may be forbidden.
}
