// A kernel of one weight binds a panel of it, and names its sizes `page_rows`, `page_cols` and
// `page_units` (units of a row).

fn whole() -> Panel {
    return Panel(0u, sizes.page_rows, sizes.page_cols, sizes.page_units);
}
