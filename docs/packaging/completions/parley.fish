# Completion for parley, parleyd and parley-web in fish. The programs answer themselves (--complete), from the
# tables that they take their options from. fish loads this file under each of the three names.
function __parley_complete
    set -l words (commandline -opc)
    set -l last (commandline -ct | string unescape)
    test (count $last) -gt 0; or set last ''
    for line in ($words[1] --complete $words[2..-1] $last 2>/dev/null </dev/null)
        switch $line
            case ':file*'
                __fish_complete_path "$last"
            case ':dir*'
                __fish_complete_directories "$last" ''
            case '*'
                echo $line
        end
    end
end

for program in parley parleyd parley-web
    complete -c $program -f -a '(__parley_complete)'
end
