# Sets what was found (first file) beside the goals (second file): rows of a table.
function shown(figure) {
    return figure >= 100 ? sprintf("%.0f", figure) : figure >= 10 ? sprintf("%.1f", figure) : sprintf("%.2f", figure)
}
FILENAME == ARGV[1] {
    found[$1] = $2
    spread[$1] = "(" shown($3) " to " shown($4) ")"
    next
}
{
    sign = $3 == "<=" ? "≤" : "≥"
    if (!($1 in found)) {
        printf "| %s | %s %s | - | not measured |\n", $2, sign, $4
        next
    }
    met = $3 == "<=" ? found[$1] <= $4 : found[$1] >= $4
    printf "| %s | %s %s | %s %s | %s |\n", $2, sign, $4, shown(found[$1]), spread[$1], met ? "met" : "**not met**"
}
